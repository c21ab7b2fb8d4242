"""``ens verify``: compare every file of a folder of runs with its checksum."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs
from ensemble.core.formatting import counted
from ensemble.core.progress import Progress

if TYPE_CHECKING:
    from ensemble.combining.recompute import Recomputation

EXAMPLE = "Example:  ens verify    or    ens verify --recompute    or    ens verify --runs old/runs"


def verify(
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Compute scores and verdicts again from probabilities and labels.")
    ] = False,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Name every damaged or missing file in a folder of runs; exit with code 1 if there is one.

    A checksum does not notice that a file was edited together with its checksum. With --recompute every score, limit
    and verdict of the intact runs is computed again, and each that differs is named. Not covered are settings and
    histories, from which no score follows; labels and probabilities themselves, if they were replaced with their
    checksums; the estimated quality of new images; the notes of a verdict; costs of members (time, operations); and
    scores before their probabilities were rounded to one byte: log-loss and Brier score of a member must lie within
    what the bytes allow, its calibration is not compared with them. The probabilities of evaluations are not stored, so
    their scores are compared with their tables per image.
    """
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.runs.verify import verify as verify_runs

    with output.progress() as progress:
        report = verify_runs(runs, progress)
        again = _recomputed(runs, report.damaged, progress) if recompute else None
    for problem in (*report.problems, *(map(str, again.differences) if again else ())):
        output.say(f"  {escape(problem)}")
    if report.damaged:
        command = shlex.join(["ens", "remove", *report.damaged, *report.dependents, "--runs", str(runs)])
        needing = f", with what needs a damaged member ({', '.join(report.dependents)})" if report.dependents else ""
        output.say(f"  `{escape(command)}` deletes what is damaged{escape(needing)}, so that it can be made again")
    if report.unfinished:
        output.say(f"  not finished: {escape(', '.join(report.unfinished))}; repeat the train command to resume")
    if report.worked_on:
        output.say(f"  in training now: {escape(', '.join(report.worked_on))}")
    if report.old:
        output.say(
            f"  {len(report.old)} of the runs were written by version 0.1 or 0.2, which recorded no checksum of status"
            " and environment, and did not tie the stored probabilities to the member"
        )
    checked = (
        f"{counted(report.files + len(report.problems), 'file')} of {counted(report.members, 'member')}"
        f" and {counted(report.ensembles, 'ensemble')}"
        + (f" and {counted(report.evaluations, 'evaluation')}" if report.evaluations else "")
        + (f" and {counted(report.looks, 'look')}" if report.looks else "")
    )
    count, content = len(report.problems), asdict(report)
    outcome = f"{checked}: {f'{count} damaged or missing' if count else 'all are intact'}"
    if again:
        content["recomputed"] = asdict(again)
        outcome += f"; {_summary(again, output)}"
    output.result(outcome, content)
    if report.problems or (again and again.differences):
        raise typer.Exit(1)


def _recomputed(runs: Path, damaged: Sequence[str], progress: Progress) -> Recomputation:
    from ensemble.combining.recompute import recompute_runs

    return recompute_runs(runs, damaged, progress)


def _summary(again: Recomputation, output: Output) -> str:
    """Name the runs that were not recomputed, and return the outcome for the others."""
    for sentence in again.failed:
        output.say(f"  {escape(sentence)}")
    if again.without_tables:
        output.say(f"  written by an earlier version, not recomputed: {escape(', '.join(again.without_tables))}")
    if again.without_rival:
        output.say(
            "  combined by an earlier version, which did not store the weights of the full ensemble; scores are"
            f" recomputed, the verdict against it is not: {escape(', '.join(again.without_rival))}"
        )
    wrong = len(again.differences)
    agreement = f"{counted(wrong, 'value')} differ{'s' if wrong == 1 else ''}" if wrong else "all values agree"
    return f"{counted(again.runs, 'run')} recomputed, except for what --help names: {agreement}"
