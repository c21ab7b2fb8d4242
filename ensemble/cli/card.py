"""``ens card``: show the model card of a bundle or of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Plugins, Quiet, Runs

EXAMPLE = "Example:  ens card street.ens    or    ens card learned"


def card(
    model: Annotated[
        str,
        typer.Argument(
            help="Bundle that `ens bundle` wrote; or member or ensemble: name, unique beginning, STUDY:LABEL or path."
        ),
    ],
    runs: Runs = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show a model card: classes, data, scores, weak classes, promises, size and time.

    A bundle is checked first. The card of a run is the one that `ens bundle` would write, without the time per image.
    The card is Markdown where the output is no terminal, so `ens card street.ens > card.md` keeps it.
    """
    output = Output(quiet=quiet, as_json=as_json)
    from rich.markdown import Markdown

    from ensemble.runs.layout import BUNDLE_SUFFIX

    text, about = _bundled(Path(model)) if Path(model).suffix == BUNDLE_SUFFIX else _made(model, runs, output)
    if sys.stdout.isatty() and not (quiet or as_json):
        output.say(Markdown(text))
    else:
        output.result(text.rstrip("\n"), about)


def _bundled(file: Path) -> tuple[str, dict[str, Any]]:
    from ensemble.runs.bundle import open_bundle
    from ensemble.runs.layout import CARD

    bundle = open_bundle(file)
    return bundle.read(CARD).decode(), dict(bundle.about)


def _made(model: str, runs: Path, output: Output) -> tuple[str, dict[str, Any]]:
    from ensemble.export.make_bundle import run_card

    with output.progress() as progress:
        text, about = run_card(model, runs=runs, progress=progress)
    first = f"> Card of a run, not of a file: `ens bundle {about['name']} --out FILE.ens` writes the file.\n\n"
    return first + text, dict(about)
