"""``ens tune``: look for better options, then train members with the best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Background, Data, Device, ImageSize, Out, Plugins, Precision, Quiet

if TYPE_CHECKING:
    from ensemble.study.tuning import Tuned
    from ensemble.study.tuning.run import Opened

EXAMPLE = (
    "Example:  ens tune mars.npz --arch unet --loss focal --trials 40    or"
    "    ens tune mars.npz --arch linknet --loss '0.5*dice + 0.5*focal' --budget 30m --lr 0.002 --best 3"
)
SHOWN = 10  # trials in the table; trials.csv has them all


def tune(
    data: Data = "sample",
    *,
    arch: Annotated[str, typer.Option(help="Architecture; see `ens list architectures`.")],
    loss: Annotated[str, typer.Option(help="Loss or weighted sum, such as '0.5*dice + 0.5*focal'.")],
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all, earlier and parallel ones included (20).")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for the trials, such as 30m; the members come after.")
    ] = None,
    best: Annotated[int, typer.Option(min=0, help="Trials that become members; 0 for none.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images for the members.")] = 30,
    trial_epochs: Annotated[int, typer.Option(min=1, help="Passes for every trial.")] = 10,
    multi_objective: Annotated[
        bool, typer.Option("--multi-objective", help="Look for mIoU and short training at once.")
    ] = False,
    arch_option: Annotated[list[str] | None, typer.Option(help="Set as name=value, and do not tune.")] = None,
    loss_option: Annotated[list[str] | None, typer.Option(help="Set as name=value, and do not tune.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Encoder of the networks that have one.")] = None,
    encoder_weights: Annotated[str | None, typer.Option(help="Pretrained encoder: 'imagenet' or a file.")] = None,
    augment: Annotated[str | None, typer.Option(help="Set the augmentation, and do not tune it.")] = None,
    sampler: Annotated[str, typer.Option(help="uniform, or 'rare(per_batch=3)'.")] = "uniform",
    exclude: Annotated[str | None, typer.Option(help="Leave images out of training: suspects.csv.")] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Images per step.")] = 32,
    lr: Annotated[float | None, typer.Option(help="Set the learning rate, and do not tune it.")] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0, help="Set the weight decay, and do not tune it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search, and of all weights.")] = 0,
    val_fraction: Annotated[float, typer.Option(help="Share held out for the members; again for the trials.")] = 0.2,
    split_seed: Annotated[int, typer.Option(help="Seed of both splits; the same for members to be combined.")] = 0,
    background: Background = None,
    image_size: ImageSize = None,
    device: Device = "auto",
    precision: Precision = "auto",
    out: Out = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Look for better options with Optuna: of the architecture, the loss, the optimiser and the augmentation.

    What you set is not tuned. Trials learn from a part of the training images and are judged on the rest of them, so
    the members that are trained with the best options have scores on images that nothing was chosen by. The same
    command in several shells shares the work, and given again it goes on.
    """
    given = {
        name: value
        for name, value in locals().items()
        if name not in _OURS and value is not None  # what is None is tuned, or has its default
    }
    output = Output(quiet=quiet, as_json=as_json)
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.core.registry import split_pairs
    from ensemble.study.tuning import tune as tune_member

    options = {"arch_options": split_pairs(arch_option or []), "loss_options": split_pairs(loss_option or [])}
    with output.progress() as progress:
        done = tune_member(
            given | options,
            trials=trials,
            budget=budget,
            best=best,
            epochs=epochs,
            trial_epochs=trial_epochs,
            multi_objective=multi_objective,
            progress=progress,
            on_open=lambda opened: _say_opened(opened, output),
        )
    _show(done, output)


_OURS = {
    *("trials", "budget", "best", "epochs", "trial_epochs", "multi_objective", "arch_option", "loss_option"),
    *("plugins", "quiet", "as_json"),
}


def _say_opened(opened: Opened, output: Output) -> None:
    from ensemble.cli.tables import table

    output.say(f"[bold]{escape(opened.folder.name)}[/]")
    output.say(
        f"  trials learn from {opened.learned} images and are judged on {opened.held} others; the"
        f" {len(opened.plan.split.scored)} validation images of the members take no part"
    )
    if opened.ended:
        output.say(f"  trials that are there already: {opened.ended}")
    rows = [[knob.name, knob.default, str(knob)] for knob in opened.space.values()]
    output.say(table("", ["tuned", "default", "looked for in"], rows, left=3))


def _show(done: Tuned, output: Output) -> None:
    from ensemble.cli.train import score_line

    _say_trials(done, output)
    if done.importance:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in done.importance.items())
        output.say(f"share of the variance of the inner mIoU: {escape(shares)}")
    for number, member in done.members.items():
        output.say(f"[bold]trial {number}[/] became {escape(member.name)}, scored on images that chose nothing")
        output.say(score_line(member.scores))
    if done.elsewhere:
        output.say(f"[bold]note:[/] {escape(done.elsewhere)}")
    output.say(f"pictures: {escape(', '.join(str(picture) for picture in done.pictures))}")
    trials = done.trials.astype(object).where(done.trials.notna(), None).to_dict(orient="records")
    content: dict[str, Any] = {
        "folder": str(done.folder),
        "best": list(done.best),
        "importance": dict(done.importance),
        "members": [
            {"trial": number, "path": str(member.path), "name": member.name, "scores": member.scores}
            for number, member in done.members.items()
        ],
        "elsewhere": done.elsewhere,
        "pictures": [str(picture) for picture in done.pictures],
        "trials": trials,
    }
    output.result(f"{len(trials)} trials: {done.folder / 'trials.csv'}", content)


def _say_trials(done: Tuned, output: Output) -> None:
    """The best trials, and the defaults for comparison; whose scores are selected, it says so."""
    import pandas as pd

    from ensemble.cli.tables import table
    from ensemble.core.formatting import percent

    frame = done.trials
    order = frame.assign(whole=frame["state"] == "complete").sort_values(["whole", "miou"], ascending=False)
    shown = order.head(SHOWN)
    if len(order) > SHOWN and 0 not in set(shown["trial"]):
        shown = order[order.index.isin(shown.index) | (order["trial"] == 0)]
    knobs = list(frame.columns[5:-1])
    records: Any = pd.DataFrame(shown).to_dict(orient="records")
    rows = [
        [
            f"{row['trial']}{' (defaults)' if row['trial'] == 0 else ''}",
            row["state"],
            percent(_number(row["miou"])),
            "-" if _number(row["seconds"]) is None else f"{row['seconds']:.0f}",
            *("-" if row[name] is None else str(row[name]) for name in knobs),
        ]
        for row in records
    ]
    output.say(table("", ["trial", "state", "inner mIoU %", "s", *knobs], rows, left=2))
    output.say("the inner mIoU is selected: the largest of many flatters; only the members' own scores are to be told")
    for number, state, error in zip(frame["trial"], frame["state"], frame["error"], strict=True):
        if state == "failed":
            output.say(f"[bold red]failed[/] trial {number}: {escape(error)}")


def _number(value: Any) -> float | None:
    """A number of the table, None where there is none."""
    return None if value is None or value != value or not isinstance(value, float | int) else float(value)  # noqa: PLR0124
