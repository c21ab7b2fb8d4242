"""``ens export``: one ONNX file of a member or a whole ensemble."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import OUTPUT, AsJson, Decide, Plugins, Quiet, Runs, Tta
from ensemble.core.formatting import counted, in_percent

if TYPE_CHECKING:
    from ensemble.export.export_model import Exported

EXAMPLE = (
    "Example:  ens export learned-3-1a2b3c --to onnx    or    ens export learned-3-1a2b3c --to onnx --precision int8"
)


def export(
    model: Annotated[str, typer.Argument(help="Member or ensemble: name, unique beginning, STUDY:LABEL or path.")],
    *,
    to: Annotated[str, typer.Option("--to", help="Format of the file: onnx.", metavar="FORMAT")],
    out: Annotated[
        Path | None,
        typer.Option(help="New file (default: MODEL.onnx, here).", rich_help_panel=OUTPUT, metavar="FILE.onnx"),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32; fp16 (weights of half the size); or int8 (convolutions and linear layers in 8 bits, with scales"
            " from training images). The change of the mIoU on validation images is printed.",
            metavar="NAME",
        ),
    ] = "fp32",
    data: Annotated[str | None, typer.Option(help="New location of its data, if they moved.", metavar="PATH")] = None,
    tta: Tta = None,
    decide: Decide = None,
    runs: Runs = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a member, or a whole weighted ensemble, as one ONNX file, compared with the networks before."""
    output = Output(quiet=quiet, as_json=as_json)
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.export.export_model import export_model

    with output.progress() as progress:
        done = export_model(
            model,
            out,
            to=to,
            precision=precision,
            data=data,
            tta=tta,
            decide=decide,  # pyright: ignore[reportArgumentType]  (checked there)
            runs=runs,
            progress=progress,
            on_note=output.note,
        )
    for line in describe(done):
        output.say(f"  {escape(line)}")
    ratios = {f"ratio_{time.threads}_threads": time.ratio for time in done.latency}
    output.result(f"{done.model} is in {done.path}", asdict(done) | ratios)


def describe(done: Exported) -> list[str]:
    """Return what was measured, one line each."""
    parity, change = done.parity, done.change
    sizes = ", ".join(f"{height}x{width}" for height, width in parity.sizes[:6])
    lines = [
        f"same    probabilities differ by {parity.largest:.1e} at most, classes in {in_percent(parity.pixels, 3)} of"
        f" the pixels (validation images of {sizes})",
        f"size    {done.size / 1e6:.2f} MB ({done.size / done.weights:.2f} x the weights of the networks)",
    ]
    lines += [
        f"time    {time.graph:.1f} ms for one image with {counted(time.threads, 'thread')}: {time.ratio:.2f} x torch's"
        f" {time.networks:.1f} ms"
        for time in done.latency
    ]
    if change is not None:
        found = change.difference
        interval = (
            f"95 % interval {100 * found.low:+.2f} to {100 * found.high:+.2f}"
            if found.low == found.low
            else f"no interval: {counted(change.groups, 'group')} of images are too few"
        )
        lines.append(
            f"mIoU    {in_percent(change.graph, 2)}, {100 * found.difference:+.2f} points against the networks in fp32"
            f" ({interval}; {counted(change.images, 'validation image')})"
        )
    return lines
