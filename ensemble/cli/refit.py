"""``ens refit``: train a member, or the members of an ensemble, on all labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Plugins, Quiet, Runs
from ensemble.core.formatting import counted

if TYPE_CHECKING:
    from ensemble.runs.member import Member
    from ensemble.training.plan import Plan

EXAMPLE = (
    "Example:  ens refit learned-3-1a2b3c    or    ens refit unet-ce-s0-7ca07c"
    "    then    ens predict learned-3-1a2b3c-refit photos/ --out masks/"
)


def refit(
    model: Annotated[str, typer.Argument(help="Member or ensemble: name, unique beginning, STUDY:LABEL or path.")],
    data: Annotated[str | None, typer.Option(help="New location of the data, if they moved.", metavar="PATH")] = None,
    runs: Runs = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a member, or all members that an ensemble uses, on all labelled images, with what was chosen before.

    Epochs, weights of the pool, temperatures and decision are those of the cross-validated twin. No image is left to
    score the result: it keeps the score of the twin, and its name, its protocol and the notes of `ens results` say so.
    The same command resumes an interrupted training.
    """
    output = Output(quiet=quiet, as_json=as_json)
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.export.refit import refit as train_on_all

    def show(plan: Plan, twin: Member) -> None:
        images, epochs = len(plan.training_rows(0)), plan.settings.epochs
        output.say(escape(f"  {plan.path.name}: {counted(images, 'image')}, {epochs} epochs as {twin.name}"))

    with output.progress() as progress:
        made = train_on_all(model, data=data, runs=runs, progress=progress, on_plan=show)
    output.say(
        escape(
            f"  trained on {counted(made.images, 'labelled image')}, {made.twin} on {made.before:,.0f} (mean of its"
            " networks); the score is that of the twin, for no image is left to measure another one"
        )
    )
    content = {"path": str(made.path), "twin": made.twin, "images": made.images, "before": made.before}
    output.result(str(made.path), content)
