"""``ens tune``: search for better options, then train members with the best."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Out, Plugins, Quiet, SettingsCommand
from ensemble.core.formatting import in_percent

if TYPE_CHECKING:
    from ensemble.study.tuning import Tuned
    from ensemble.study.tuning.run import Opened

EXAMPLE = (
    "Example:  ens tune mars.npz --arch unet --loss focal --trials 40    or"
    "    ens tune mars.npz --arch linknet --loss '0.5*dice + 0.5*focal' --budget 30m --lr 0.002 --best 3"
)
SHOWN = 10  # rows of the printed table; trials.csv holds all trials
PANEL = "Search"


def tune() -> None:
    """Search for better options of the architecture, the loss, the optimiser and the augmentation with Optuna.

    What you set is not tuned. Trials learn from one part of the training images and are judged on the rest. The members
    that are trained with the best options are therefore scored on images that chose nothing. The same command
    in several shells shares the work; given again, it continues.
    """


def run_tune(
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of all trials, earlier and parallel ones too (20).",
            rich_help_panel=PANEL,
            metavar="INT",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time for the trials, such as 30m, without the members.", rich_help_panel=PANEL, metavar="TIME"
        ),
    ] = None,
    best: Annotated[
        int, typer.Option(min=0, help="Trials that become members.", rich_help_panel=PANEL, metavar="INT")
    ] = 1,
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes for the members.", rich_help_panel=PANEL, metavar="INT")
    ] = 30,
    trial_epochs: Annotated[
        int, typer.Option(min=1, help="Passes for every trial.", rich_help_panel=PANEL, metavar="INT")
    ] = 10,
    multi_objective: Annotated[
        bool, typer.Option("--multi-objective", help="Search for mIoU and short training.", rich_help_panel=PANEL)
    ] = False,
    out: Out = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Run the trials, train the best as members, and print both."""
    output = Output(quiet=quiet, as_json=as_json)
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.study.tuning import tune as tune_member

    with output.progress() as progress:
        done = tune_member(
            {**settings, "out": out},
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


class TuneCommand(SettingsCommand):
    """`ens tune` with an option for every setting that a tuned member can have."""

    run = staticmethod(run_tune)
    leave_out: ClassVar[Collection[str]] = ("steps", "epochs", "budget", "folds", "exclude_from_score")
    shown: ClassVar[Mapping[str, str]] = {"lr": "tuned", "weight_decay": "tuned", "augment": "tuned"}


def _say_opened(opened: Opened, output: Output) -> None:
    from ensemble.cli.tables import table

    output.say(f"[bold]{escape(opened.folder.name)}[/]")
    output.say(
        f"  trials learn from {opened.learned} images and are judged on {opened.held} others; the"
        f" {len(opened.plan.split.scored)} validation images of the members take no part"
    )
    if opened.ended:
        output.say(f"  earlier trials: {escape(str(opened.ended))}")
    rows = [[option.name, option.default, str(option)] for option in opened.space.values()]
    output.say(table("", ["tuned", "default", "range"], rows, left=3))


def _show(done: Tuned, output: Output) -> None:
    from ensemble.cli.train import score_line

    _say_trials(done, output)
    if done.importance:
        shares = ", ".join(f"{name} {in_percent(share, 0)}" for name, share in done.importance.items())
        output.say(f"share of the variance of the inner mIoU: {escape(shares)}")
    for number, member in done.members.items():
        output.say(f"[bold]trial {number}[/] became {escape(member.name)}; its score is on images that chose nothing")
        output.say(score_line(member.scores, member.facts.values))
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
    """Print the best trials and the defaults, and that their scores are selected."""
    import pandas as pd

    from ensemble.cli.tables import table
    from ensemble.core.formatting import percent

    frame = done.trials
    order = frame.assign(whole=frame["state"] == "complete").sort_values(["whole", "miou"], ascending=False)
    shown = order.head(SHOWN)
    if len(order) > SHOWN and 0 not in set(shown["trial"]):
        shown = order[order.index.isin(shown.index) | (order["trial"] == 0)]
    options = list(frame.columns[5:-1])
    records: Any = pd.DataFrame(shown).to_dict(orient="records")
    rows = [
        [
            f"{row['trial']}{' (defaults)' if row['trial'] == 0 else ''}",
            row["state"],
            percent(_number(row["miou"])),
            "-" if _number(row["seconds"]) is None else f"{row['seconds']:.0f}",
            *("-" if row[name] is None else str(row[name]) for name in options),
        ]
        for row in records
    ]
    output.say(table("", ["trial", "state", "inner mIoU %", "s", *options], rows, left=2))
    output.say("the inner mIoU is selected (the largest of many is too good); report only the scores of the members")
    for number, state, error in zip(frame["trial"], frame["state"], frame["error"], strict=True):
        if state == "failed":
            output.say(f"[bold red]failed[/] trial {number}: {escape(error)}")


def _number(value: Any) -> float | None:
    """Return a number of the table, or None for a missing value."""
    return None if value is None or value != value or not isinstance(value, float | int) else float(value)  # noqa: PLR0124
