"""Options that several commands share, so that they read and behave the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def load_plugins(paths: list[Path] | None) -> list[Path]:
    """Run plug-in files before the command looks any name up."""
    for path in paths or []:
        from ensemble.plugins import load_plugin

        load_plugin(path)
    return paths or []


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the outcome only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds members and ensembles.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for members and ensembles.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        envvar="ENS_PLUGIN",
        callback=load_plugins,
        help="Python file that registers architectures or losses of your own.",
    ),
]
Data = Annotated[str, typer.Argument(help="An npz file, a folder with images/ and masks/, or 'sample'.")]
Background = Annotated[
    str | None, typer.Option(help="What class 0 is: void, class or zero-weight (npz: void, folder: class).")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16.")]
ImageSize = Annotated[str | None, typer.Option(help="Resize images to HEIGHTxWIDTH, such as 64x128.")]
Augment = Annotated[str, typer.Option(help="Sum of augmentations and TOML files, such as 'geometric + copy-paste'.")]
