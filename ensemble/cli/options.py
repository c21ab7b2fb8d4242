"""Options that several commands share, so that they read and behave the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the outcome only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds members and ensembles.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for members and ensembles.")]
