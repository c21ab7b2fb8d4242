"""``ens track``: runs in MLflow or TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet
from ensemble.core.errors import EnsError

EXAMPLE = "Example:  ens track runs --to mlflow    or    ens track runs --to tensorboard --out events"


def track(
    runs: Annotated[Path, typer.Argument(help="Folder that holds members and ensembles.")] = Path("runs"),
    *,
    to: Annotated[str, typer.Option(help="mlflow or tensorboard.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the tracker's files (tracking/mlflow, in RUNS).")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Export settings, scores and histories to a local MLflow store or to TensorBoard; again for what is new."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.tracking import track as export

    with output.progress() as progress:
        done = export(runs, to, out=out, progress=progress)
    counts = ", ".join(f"{done.count(outcome)} {outcome}" for outcome in ("new", "changed", "unchanged"))
    output.say(f"look at them with:  {done.view}")
    content = {"out": str(done.place), "view": done.view, "runs": dict(done.outcomes), "left_out": list(done.problems)}
    output.result(f"{counts} in {done.place}", content)
    if done.problems:
        raise EnsError(f"left out of the export: {'; '.join(done.problems)}")
