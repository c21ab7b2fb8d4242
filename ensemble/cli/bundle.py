"""``ens bundle``: write a model as one file that predicts elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ensemble.cli.console import Output
from ensemble.cli.options import OUTPUT, AsJson, Plugins, Quiet, Runs

EXAMPLE = "Example:  ens bundle learned-3-1a2b3c --out street.ens --licence CC-BY-4.0"


def bundle(
    model: Annotated[str, typer.Argument(help="Member or ensemble: name, unique beginning, STUDY:LABEL or path.")],
    *,
    out: Annotated[
        Path,
        typer.Option(
            help="FILE.ens. A bundle of the same model is replaced, nothing else is.",
            rich_help_panel=OUTPUT,
            metavar="FILE",
        ),
    ],
    licence: Annotated[
        str, typer.Option(help="Licence of the model, for its card, such as CC-BY-4.0.", metavar="TEXT")
    ] = "",
    latency: Annotated[
        bool,
        typer.Option(
            "--latency/--no-latency",
            help="Measure the time per image on this machine for the card; without it the same model gives the same"
            " bytes.",
        ),
    ] = True,
    runs: Runs = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a member or an ensemble as one file for `ens predict`, `ens evaluate` and `ensemble.load` elsewhere.

    It holds networks, pool, decision, calibration, classes, scores, settings and a model card (`ens card`), with a
    digest of each part; no images, masks or predictions, and no code. The settings name the folder of the data.
    """
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.export.make_bundle import bundle as write

    with output.progress() as progress:
        done = write(
            model,
            out,
            licence=licence,
            latency=latency,
            runs=runs,
            progress=progress,
            on_note=output.note,
        )
    content = {"path": str(done.path), "bytes": done.size, **done.about}
    output.result(f"{done.name} in {done.path} ({done.size / 1e6:.1f} MB)", content)
