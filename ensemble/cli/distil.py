"""``ens distil``: train one network, the student, on what an ensemble predicts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from rich.markup import escape

from ensemble.cli.combine_tables import differences
from ensemble.cli.console import AFTER_TABLE, Output
from ensemble.cli.options import AsJson, Out, Plugins, Quiet, SettingsCommand
from ensemble.cli.train import DryRun, describe_plan, score_line, with_estimate
from ensemble.core.formatting import counted, duration, in_percent

if TYPE_CHECKING:
    from ensemble.export.distil import Distilled
    from ensemble.export.distil_plan import DistilPlan

PANEL = "Student"
EXAMPLE = (
    "Example:  ens distil learned-3 --arch 'unet(filters=16)'    or"
    "    ens distil learned-3 --arch 'unet(filters=16)' --unlabelled test,photos/ --dry-run"
)


def distil() -> None:
    """Train one network, the student, on labels and on the probabilities of an ensemble; judge it.

    Each training image is taught by networks that have seen neither it nor the images that the student is scored on.
    They are trained first, and kept for the next student. What has to be trained is printed before it begins. The
    student is a member like any other. The same command resumes what was interrupted.
    """


def run_distil(
    ensemble: Annotated[str, typer.Argument(help="Ensemble: name, unique beginning, STUDY:LABEL or path.")],
    unlabelled: Annotated[
        str | None,
        typer.Option(
            help="Further images without labels: folders or files, and test for the test images of the data, with"
            " commas between them.",
            rich_help_panel=PANEL,
            metavar="PATHS",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="New location of the data, if they moved.", metavar="PATH", rich_help_panel="Data"),
    ] = None,
    dry_run: DryRun = False,
    out: Out = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Train the teachers and the student, or print what that will take."""
    output = Output(quiet=quiet, as_json=as_json)
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.export.distil import distil_planned
    from ensemble.export.distil_plan import plan_distil

    with output.progress() as progress:
        plan = plan_distil(ensemble, unlabelled=unlabelled, data=data, runs=out, progress=progress, **settings)
        expected = _describe(plan, output)
        student, more = with_estimate(plan.student, output, progress, wanted=dry_run)
        done = None if dry_run else distil_planned(replace(plan, student=student), progress)
    if done is None:
        text = "nothing was trained or written; leave --dry-run out to train"
        output.result(text, {"path": str(student.path), "state": student.state, **expected, "student": more})
        return
    _show(done, output)
    member = done.member
    content = {"path": str(member.path), "name": member.name, "scores": member.scores, **done.judged.to_json()}
    output.result(str(member.path), content)


def _describe(plan: DistilPlan, output: Output) -> dict[str, Any]:
    """Print what will be trained and for how long; return the numbers."""
    describe_plan(plan.student, output)
    taught, missing, teachers = plan.student.settings.taught, plan.missing, plan.teachers
    assert taught is not None, "a student is taught"
    seconds, images = plan.seconds(missing), len(plan.unlabelled.images.ids)
    without = "two folds" if len(plan.folds) > 2 else "the validation images and a part of the others"
    output.say(
        f"  taught  by {escape(plan.ensemble.name)}: {counted(len(plan.members), 'member')}; labels have"
        f" {in_percent(taught.label_share, 0)} of the loss"
    )
    if images:
        output.say(
            f"  and     {counted(images, 'unlabelled image')}, {in_percent(taught.unlabelled_share, 0)} of each batch"
        )
    need = f"{counted(len(teachers), 'network')}, each trained without {without}"
    if plan.student.state == "complete":
        need = "all is done"
    elif not missing:
        need += "; all are kept from before"
    else:
        kept = len(teachers) - len(missing)
        need += f"; {kept} kept from before" * bool(kept)
        need += f"; {len(missing)} to train take about {duration(seconds)}, as long as the networks of their members"
    output.say(f"  teach   {need}")
    for note in plan.notes:
        output.note(note)
    return {"teachers": len(teachers), "missing": len(missing), "teacher_seconds": seconds, "unlabelled": images}


def _show(done: Distilled, output: Output) -> None:
    """Print the score, the differences, what the student keeps of the ensemble's gain, and the advice."""
    from ensemble.cli.tables import table
    from ensemble.core.formatting import percent
    from ensemble.evaluation.caveats import RARE_NOTE

    verdict, member = done.judged.verdict, done.member
    output.say(score_line(member.scores, member.facts.values))
    title = "differences in points of mIoU (positive: the first is better), intervals that hold together with 95 %"
    output.say(table(title, *differences(replace(verdict, method="student"), list(member.scores["iou"]))))
    output.say(
        "[dim]* the member that is best on the other folds, so that the scored images do not choose it;"
        f" {escape(verdict.best_member)} is the best on these images[/]"
    )
    if any(one.few_groups for each in verdict.per_class.values() for one in each.values()):
        output.say(f"[dim]{RARE_NOTE}[/]")

    def shown(score: str, value: float) -> str:
        return f"{percent(value)} %" if score == "mIoU" else f"{value:.4f}"

    rows = [
        [
            f"{gain.score}, over the {gain.over}{'*' * (gain.over == 'best member')}",
            *(shown(gain.score, value) for value in each),
            gain.claim,
        ]
        for gain in done.judged.gains
        for each in [(gain.base, gain.ensemble, gain.student)]
    ]
    columns = ["gain of the ensemble", "member", "ensemble", "student", "the student keeps (95 % interval)"]
    output.say(table("", columns, rows))
    for note in verdict.notes:
        output.note(note, AFTER_TABLE)
    output.say(f"[bold]verdict:[/] {escape(verdict.advice)}")


class DistilCommand(SettingsCommand):
    """`ens distil` with an option for every setting of training that the ensemble does not decide."""

    run = staticmethod(run_distil)
    kinds = ("TeachingOptions", "TrainSettings")
    leave_out: ClassVar[Collection[str]] = (
        *("data", "background", "val_fraction", "folds", "split", "split_seed", "exclude", "exclude_from_score"),
    )
