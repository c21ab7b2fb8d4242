"""``ens train``: train one member."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import BACKGROUND_IS, AsJson, Out, Plugins, Quiet, SettingsCommand
from ensemble.core.formatting import counted, in_percent, percent

EXAMPLE = "Example:  ens train mars.npz --arch 'attention-unet(filters=24)' --loss 'focal(gamma=1.5)' --budget 5m"


def train() -> None:
    """Train one member and store its weights, scores and probabilities in a directory."""


def run_train(
    out: Out = Path("runs"), plugins: Plugins = None, quiet: Quiet = False, as_json: AsJson = False, **settings: Any
) -> None:
    """Train one member, or print that it is trained already."""
    output = Output(quiet=quiet, as_json=as_json)
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.training.train import train as train_member

    with output.progress() as progress:
        member = train_member(**settings, out=out, progress=progress, on_plan=lambda plan: describe_plan(plan, output))
    output.say(score_line(member.scores))
    output.result(str(member.path), {"path": str(member.path), "name": member.name, "scores": member.scores})


class TrainCommand(SettingsCommand):
    """`ens train` with an option for every setting."""

    run = staticmethod(run_train)


def describe_plan(plan: Any, output: Output) -> None:
    """Print what will be trained, on which data, how they are split, and on which hardware."""
    from ensemble.inference.tta import VIEWS
    from ensemble.training.reuse import find_same_weights

    data, settings, split = plan.dataset, plan.settings, plan.split
    bands, height, width = data.shape
    folds = len(split.validation)
    parts = f"{folds} folds" if settings.data.folds else f"hold-out of {counted(len(split.validation[0]), 'image')}"
    output.say(f"[bold]{escape(plan.path.name)}[/]  {plan.parameters / 1e6:.2f} M parameters")
    output.say(
        f"  data    {escape(data.name)}: {len(data.ids)} images of {height}x{width}x{bands},"
        f" {len(data.test_ids)} unlabelled; {escape(', '.join(data.classes))}"
    )
    for note in data.notes:
        output.say(f"  note    {escape(note)}")
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
    for note in plan.notes:
        output.say(f"  note    {note}")
    if settings.tta != "none":
        output.say(f"  tta     {settings.tta}: the mean over {len(VIEWS[settings.tta])} views of every image")
    if plan.state == "complete":
        output.say("  already trained: same settings, same data; nothing to do")
    elif plan.state == "interrupted":
        output.say("  resuming an interrupted run")
    elif other := find_same_weights(plan):
        output.say(f"  weights of {other.name}, which differs only in tta: only predictions are made")


def score_line(scores: dict[str, Any]) -> str:
    """Return ``mIoU 61.2 % (95 % interval 57.0 to 65.1, ...)`` and the IoU of the classes.

    With too few groups of images the number of groups stands in place of the interval.
    """
    from ensemble.evaluation.caveats import ENOUGH_GROUPS

    classes = escape(", ".join(f"{name} {percent(value)}" for name, value in scores["iou"].items()))
    interval = f"95 % interval {percent(scores['miou_low'])} to {percent(scores['miou_high'])}"
    if scores.get("groups", ENOUGH_GROUPS) < ENOUGH_GROUPS:
        interval = f"{scores['groups']} group{'s' * (scores['groups'] > 1)}: no interval can be trusted"
    return (
        f"  [bold]mIoU {percent(scores['miou'])} %[/] ({interval}, {scores['protocol']}); {classes};"
        f" log-loss {scores['log_loss']:.3f}"
    )
