"""``ens predict``: predict class maps of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ensemble.cli.console import Output
from ensemble.cli.options import OUTPUT, AsJson, Decide, DecideFrom, Device, Plugins, Quiet, Runs, Tta
from ensemble.core.data_kinds import IMAGES, help_text
from ensemble.core.formatting import counted

PROMISES = "Promises"
EXAMPLE = "Example:  ens predict learned-3-1a2b3c mars.npz --out submission.csv"


def predict(
    model: Annotated[
        str, typer.Argument(help="Member or ensemble: name, unique beginning, STUDY:LABEL or path; or a bundle.")
    ],
    images: Annotated[
        str,
        typer.Argument(
            help=f"{help_text(IMAGES)}. Or 'stored': the test images of the members' data, from the probabilities that"
            " the members stored, in seconds."
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for PNG masks (of GeoTIFFs: GeoTIFFs), FILE.npz or FILE.csv; for one image also FILE.png or"
            " FILE.tif. A folder must be new, empty, or hold only predictions: those of the same model and images are"
            " kept, so a repeated command goes on. A file that exists is replaced only if `ens predict` wrote it.",
            rich_help_panel=OUTPUT,
            metavar="PATH",
        ),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="png, tif, npz, csv, or rle: run lengths in FILE.csv with the columns id, class and rle, column after"
            " column, counted from 1 (default: ending of --out; in a folder png).",
            rich_help_panel=OUTPUT,
            metavar="FORM",
        ),
    ] = None,
    instances: Annotated[
        bool,
        typer.Option(
            "--instances",
            help="Run lengths per object: pixels of one class that touch, also at corners.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Write probabilities too: in the npz, or NAME.probabilities.tif next to each mask (a band of 16 bits"
            " per class, 65535 is 1).",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    uncertainty: Annotated[
        str | None,
        typer.Option(
            help="Maps to write too: entropy (of the pooled probabilities), mutual-information (disagreement of the"
            " members), or both with a comma; NAME.entropy.tif next to each mask, or in the npz; in nats.",
            rich_help_panel=OUTPUT,
            metavar="MAPS",
        ),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            help="Share of wrong pixels among those that keep a class, such as 0.05; the least certain ones become 255"
            " (the next lower id if a class has that) so that it holds on average for images like the held-out ones.",
            rich_help_panel=PROMISES,
            metavar="SHARE",
        ),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Share of the pixels of each class whose class set holds it, such as 0.9; sets are written as"
            " NAME.sets.tif next to each mask, or in the npz, with a bit per class (the first class is bit 1). A set"
            " may be empty, or lack the class of the mask.",
            rich_help_panel=PROMISES,
            metavar="SHARE",
        ),
    ] = None,
    quality: Annotated[
        bool,
        typer.Option(
            "--quality",
            help="Write the estimated IoU of each image and class with a 90 % interval, which needs no masks, to"
            " quality.csv in the folder, or to NAME.quality.csv.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    tta: Tta = None,
    decide: Decide = None,
    decide_from: DecideFrom = None,
    device: Device = "auto",
    runs: Runs = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Predict class maps of images with a member or an ensemble, in memory that does not grow with their number."""
    output, outcome = Output(quiet=quiet, as_json=as_json), dict[str, Any]()
    from ensemble.inference.write_masks import predict as predict_from

    with output.progress() as progress:
        count = predict_from(
            model,
            images,
            out,
            form=form,
            instances=instances,
            probabilities=probabilities,
            uncertainty=[kind.strip() for kind in uncertainty.split(",")] if uncertainty else [],
            quality=quality,
            tta=tta,
            decide=decide,  # pyright: ignore[reportArgumentType]  (checked there)
            decide_from=decide_from,  # pyright: ignore[reportArgumentType]
            max_error=max_error,
            coverage=coverage,
            device=device,
            runs=runs,
            progress=progress,
            on_note=output.note,
            on_outcome=outcome.update,
        )
    if tta is not None:
        output.note("the scores in `ens results` belong to predictions without --tta")
    output.result(f"{counted(count, 'mask')} in {outcome['out']}", {"images": count, **outcome})
