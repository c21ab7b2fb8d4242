"""``ens track``: export runs to MLflow or TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import OUTPUT, AsJson, Quiet, Runs
from ensemble.core.errors import EnsError

EXAMPLE = "Example:  ens track --to mlflow    or    ens track --to tensorboard --out events"


def track(
    *,
    to: Annotated[str, typer.Option(help="Tracker: mlflow or tensorboard.", metavar="NAME")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the tracker's files (default: tracking/NAME in the folder of runs).",
            rich_help_panel=OUTPUT,
            metavar="DIR",
        ),
    ] = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Export settings, scores and histories to a local MLflow store or to TensorBoard.

    Run the command again to export new and changed runs.
    """
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.tracking import track as export

    with output.progress() as progress:
        exported = export(runs, to, out=out, progress=progress)
    counts = ", ".join(f"{exported.count(outcome)} {outcome}" for outcome in ("new", "changed", "unchanged"))
    output.say(escape(f"to see the runs:  {exported.view}"))
    outcomes, problems = dict(exported.outcomes), list(exported.problems)
    content = {"out": str(exported.place), "view": exported.view, "runs": outcomes, "left_out": problems}
    output.result(f"{counts} in {exported.place}", content)
    if problems:
        raise EnsError(f"left out of the export: {'; '.join(problems)}")
