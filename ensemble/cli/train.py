"""``ens train``: train one member."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import BACKGROUND_IS, OUTPUT, AsJson, Out, Plugins, Quiet, SettingsCommand
from ensemble.core.foreground import foreground
from ensemble.core.formatting import counted, duration, in_percent, percent
from ensemble.core.locks import is_worked_on
from ensemble.core.progress import Progress
from ensemble.core.units import size_name

if TYPE_CHECKING:
    from ensemble.training.plan import Plan

EXAMPLE = "Example:  ens train mars.npz    or    ens train mars.npz --arch 'unet(filters=24)' --loss focal --budget 5m"
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what training will take, and stop there.", rich_help_panel=OUTPUT)
]


def train() -> None:
    """Train one member and store its weights, scores and probabilities in a directory.

    Everything but the data has a default.
    """


def run_train(
    dry_run: DryRun = False,
    out: Out = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Train one member, or print that it is trained already."""
    output, started = Output(quiet=quiet, as_json=as_json), time.perf_counter()
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.training.train import plan_training, train_member

    with output.progress() as progress:
        plan = replace(plan_training({**settings, "out": out, "progress": progress}), started=started)
        describe_plan(plan, output)
        plan, expected = with_estimate(plan, output, progress, wanted=dry_run)
        member = None if dry_run else train_member(plan, progress)
    if member is None:
        done = "nothing was trained or written; leave --dry-run out to train"
        output.result(done, {"path": str(plan.path), "name": plan.path.name, "state": plan.state, **expected})
        return
    output.say(score_line(member.scores, member.facts.values))
    output.result(str(member.path), {"path": str(member.path), "name": member.name, "scores": member.scores})


def with_estimate(plan: Plan, output: Output, progress: Progress, *, wanted: bool) -> tuple[Plan, dict[str, Any]]:
    """Measure a few steps of a new member and print what training takes; return the plan with its epochs."""
    from ensemble.training.budget import estimate_training
    from ensemble.training.reuse import find_same_weights

    shown = wanted or not (output.quiet or output.as_json)
    if not shown or plan.state != "new" or plan.settings.processes > 1 or find_same_weights(plan):
        return plan, {}
    found = estimate_training(plan, progress)
    rows, batch = len(plan.fewest_shown), plan.settings.batch_size
    smallest = " in the smallest fold" if plan.settings.data.folds else ""
    what = "training image" if plan.settings.crop is None else "window"
    output.say(
        f"  length  {found.epochs * found.steps:,} steps{smallest}: {counted(found.epochs, 'epoch')} of"
        f" {counted(found.steps, 'step')}, {min(rows, batch)} of {counted(rows, what)} each"
    )
    output.say(
        f"  takes   about {duration(found.seconds)} (a step took {found.step_seconds:.2g} s),"
        f" {found.memory / 1e9:.1f} GB of memory and {plan.disk_bytes / 1e6:.0f} MB on disk"
    )
    budget = plan.settings.budget_seconds
    if budget is not None and time.perf_counter() - plan.started + found.seconds > budget:
        output.note(f"the budget of {duration(budget)} is too short: one epoch and the predictions take longer")
    settings = plan.settings.model_copy(update={"epochs": found.epochs, "epoch_steps": found.epoch_steps})
    said = {"steps": found.epochs * found.steps, "epoch_steps": found.steps, "disk": plan.disk_bytes}
    return replace(plan, settings=settings, measured=True), asdict(found) | said


class TrainCommand(SettingsCommand):
    """`ens train` with an option for every setting."""

    run = staticmethod(run_train)


def describe_plan(plan: Any, output: Output) -> None:
    """Print what will be trained, on which data, how they are split, and on which hardware."""
    from ensemble.data.describe import size_text
    from ensemble.data.split import given_split
    from ensemble.inference.tta import VIEWS
    from ensemble.training.plan_notes import plan_notes

    data, settings, split = plan.dataset, plan.settings, plan.split
    folds = len(split.validation)
    parts = f"{folds} folds" if settings.data.folds else f"hold-out of {counted(len(split.validation[0]), 'image')}"
    parts += " as given" if given_split(data, settings.data) is not None else ""
    if len(split.vault):
        parts += f", {counted(len(split.vault), 'image')} in the vault"
    optimiser = f"{settings.optimiser.name} (lr={settings.optimiser.lr:g})"
    output.say(f"[bold]{escape(plan.path.name)}[/]  {plan.parameters / 1e6:.2f} M parameters, optimiser {optimiser}")
    output.say(
        f"  data    {escape(data.name)}: {len(data.ids)} images of {size_text(data.sizes)},"
        f" {counted(data.bands, 'band')}, {counted(len(data.test_ids), 'test image')}"
        f"{' with masks' * data.has_test_labels}; {escape(', '.join(data.classes))}"
    )
    for note in data.notes:
        output.note(note)
    void = in_percent(data.void_share)
    output.say(f"  void    class 0 is {BACKGROUND_IS[data.background]}; {void} of the pixels carry no label")
    given = "given groups" if data.groups is not None else "near-duplicates grouped"
    output.say(f"  split   {parts}, {counted(len(set(plan.groups)), 'group')} ({given})")
    for ids, what in ((settings.exclude, "training"), (settings.data.unscored, "training and score")):
        if ids:
            output.say(f"  without {len(ids)} images in {what}")
    how = f"{settings.precision}, {settings.threads} threads{', deterministic' * settings.deterministic}"
    how += f", {settings.processes} processes" * (settings.processes > 1)
    output.say(f"  runs on {settings.device}, {how}: {plan.hardware.reason}")
    for note in plan_notes(plan):
        output.note(note)
    if settings.input_size is not None:
        output.say(f"  input   whole images, resized to {size_name(settings.input_size)} for the network")
    if settings.input_scale != 1:
        output.say(f"  input   {settings.input_scale:g} times the native size for the network")
    if settings.tta != "none":
        output.say(f"  tta     {settings.tta}: the mean over {len(VIEWS[settings.tta])} views of every image")
    _say_state(plan, output)


def _say_state(plan: Plan, output: Output) -> None:
    """Print what exists already and need not be trained."""
    from ensemble.training.reuse import find_same_weights

    if plan.state == "complete":
        output.say("  already trained: same settings, same data; nothing to do")
    elif plan.state == "interrupted" and not is_worked_on(plan.path):  # else a sentence about that process follows
        output.say("  resuming an interrupted run")
    elif other := find_same_weights(plan):
        output.say(f"  weights of {other.name}, which differs only in tta: only predictions are made")


def score_line(scores: dict[str, Any], values: Sequence[int]) -> str:
    """Return ``mIoU 61.2 % (95 % interval 57.0 to 65.1, ...)`` and the IoU of the classes.

    Of two classes, one of which is the background, the other one is shown with its Dice. With too few groups of images
    the number of groups stands in place of the interval.
    """
    from ensemble.evaluation.caveats import ENOUGH_GROUPS, no_interval

    classes = escape(", ".join(f"{name} {percent(value)}" for name, value in scores["iou"].items()))
    if (place := foreground(values)) is not None:
        name = list(scores["iou"])[place]
        shown = f"IoU {percent(scores['iou'][name])}, Dice {percent(scores['dice_per_class'][name])}"
        classes = f"foreground '{escape(name)}': {shown}"
    interval = no_interval(scores.get("groups", ENOUGH_GROUPS))
    if not interval:
        interval = f"95 % interval {percent(scores['miou_low'])} to {percent(scores['miou_high'])}"
    return (
        f"  [bold]mIoU {percent(scores['miou'])} %[/] ({interval}, {scores['protocol']}); {classes};"
        f" log-loss {scores['log_loss']:.3f}"
    )
