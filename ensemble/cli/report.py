"""``ens report``: write a report of runs as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import OUTPUT, AsJson, Quiet, Runs
from ensemble.core.errors import EnsError

EXAMPLE = "Example:  ens report    or    ens report learned-8-1a2b3c --out learned.html"


def report(
    ensemble: Annotated[
        str | None,
        typer.Argument(help="Ensemble: name, unique beginning, STUDY:LABEL or path (default: all runs)."),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option("--image", help="Id of an image to show in addition; may be repeated.", metavar="ID"),
    ] = None,
    out: Annotated[Path, typer.Option(help="File for the report.", rich_help_panel=OUTPUT, metavar="FILE")] = Path(
        "report.html"
    ),
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a report as one HTML file that needs no network: verdict, table, figures and images."""
    output = Output(quiet=quiet, as_json=as_json)
    root, name = _place(ensemble, runs)
    from ensemble.report.page import write_report

    with output.progress() as progress:
        written = write_report(root, out, ensemble=name, images=image or (), progress=progress)
    output.say(escape(f"{written.question}\n{written.answer}"))
    for note in written.notes:
        output.say(escape(f"- {note}"))
    content = {"path": str(written.path), "bytes": written.size, "question": written.question, "answer": written.answer}
    output.result(f"{written.path} ({written.size / 1e6:.1f} MB)", content | {"notes": list(written.notes)})


def _place(name: str | None, runs: Path) -> tuple[Path, str | None]:
    """Return the folder of runs, and the name of the ensemble if the user gave one."""
    if name is None:
        return runs, None
    from ensemble.runs.folder import find_run
    from ensemble.runs.status import read_status

    path = find_run(name, runs)
    if read_status(path).get("kind") != "ensemble":
        raise EnsError(f"expected an ensemble, got the member {path.name}; leave the name out for a report of all runs")
    return path.parent.parent, path.name
