"""``ens card``: show the model card of a bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet

EXAMPLE = "Example:  ens card street.ens"


def card(
    file: Annotated[Path, typer.Argument(help="Bundle that `ens bundle` wrote.", metavar="FILE")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Check a bundle and show its model card: classes, data, scores, weak classes, promises, size and time.

    The card is Markdown where the output is no terminal, so `ens card street.ens > card.md` keeps it.
    """
    output = Output(quiet=quiet, as_json=as_json)
    from rich.markdown import Markdown

    from ensemble.runs.bundle import open_bundle
    from ensemble.runs.layout import CARD

    bundle = open_bundle(file)
    text = bundle.read(CARD).decode()
    if sys.stdout.isatty() and not (quiet or as_json):
        output.say(Markdown(text))
    else:
        output.result(text.rstrip("\n"), dict(bundle.about))
