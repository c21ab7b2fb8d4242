"""``ens verify``: compare every file of a folder of runs with its checksum."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet
from ensemble.core.formatting import counted

EXAMPLE = "Example:  ens verify runs"


def verify(
    runs: Annotated[Path, typer.Argument(help="Folder that holds members and ensembles.")] = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Name every damaged or missing file in a folder of runs; exit with code 1 if there is one."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.runs.verify import verify as verify_runs

    with output.progress() as progress:
        report = verify_runs(runs, progress)
    for problem in report.problems:
        output.say(f"  {escape(problem)}")
    if report.damaged:
        command = shlex.join(["ens", "remove", *report.damaged, *report.dependents, "--runs", str(runs)])
        needing = f", with what needs a damaged member ({', '.join(report.dependents)})" if report.dependents else ""
        output.say(f"  `{escape(command)}` deletes what is damaged{escape(needing)}, so that it can be made again")
    if report.unfinished:
        output.say(f"  not finished: {escape(', '.join(report.unfinished))}; repeat the train command to resume")
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
    count = len(report.problems)
    output.result(f"{checked}: {f'{count} damaged or missing' if count else 'all are intact'}", asdict(report))
    if report.problems:
        raise typer.Exit(1)
