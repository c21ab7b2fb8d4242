"""``ens report``: write a report of runs as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import OUTPUT, AsJson, Quiet, Runs
from ensemble.core.errors import EnsError
from ensemble.core.reading import is_folder
from ensemble.runs.layout import ensembles_folder, is_run, members_folder

EXAMPLE = "Example:  ens report    or    ens report learned-8-1a2b3c --out learned.html"


def report(
    what: Annotated[
        str | None,
        typer.Argument(
            help="Folder of runs, or an ensemble: its name, the beginning of its name, or its path (default: --runs)."
        ),
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
    root, ensemble = _place(what, runs)
    from ensemble.report.page import write_report

    with output.progress() as progress:
        written = write_report(root, out, ensemble=ensemble, images=image or (), progress=progress)
    output.say(escape(f"{written.question}\n{written.answer}"))
    for note in written.notes:
        output.say(escape(f"- {note}"))
    content = {"path": str(written.path), "bytes": written.size, "question": written.question, "answer": written.answer}
    output.result(f"{written.path} ({written.size / 1e6:.1f} MB)", content | {"notes": list(written.notes)})


def _place(what: str | None, runs: Path) -> tuple[Path, str | None]:
    """Return the folder of runs, and the name of the ensemble if the user gave one."""
    folder = runs if what is None else Path(what)
    if what is None or is_folder(members_folder(folder)) or is_folder(ensembles_folder(folder)):
        return folder, None
    from ensemble.runs.folder import find_run
    from ensemble.runs.status import read_status

    if not is_run(folder) and (is_folder(folder) or not is_folder(runs)):
        neither, nowhere = f"{folder} is neither", f"there is no {what}, and no folder {runs} to search in"
        reason = neither if is_folder(folder) else nowhere
        raise EnsError(f"expected a folder of runs or an ensemble, but {reason}; check the path or --runs")
    path = find_run(what, runs)
    if read_status(path).get("kind") != "ensemble":
        raise EnsError(
            f"expected an ensemble or a folder of runs, got the member {path.name}; leave the name out for a report of"
            " all runs"
        )
    return path.parent.parent, path.name
