"""``ens report``: everything about some runs on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs
from ensemble.core.errors import EnsError
from ensemble.runs.layout import ensembles_folder, is_run, members_folder

EXAMPLE = "Example:  ens report    or    ens report learned-8-1a2b3c --out learned.html"


def report(
    what: Annotated[
        str | None, typer.Argument(help="Folder of runs, or an ensemble by name, unique beginning or path (--runs).")
    ] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    image: Annotated[
        list[str] | None, typer.Option("--image", help="Id of an image to show besides those that are chosen.")
    ] = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write one HTML file that needs no network: the answer, the table, the figures and an image browser."""
    output = Output(quiet=quiet, as_json=as_json)
    root, ensemble = _place(what, runs)
    from ensemble.report.page import write_report

    with output.progress() as progress:
        done = write_report(root, out, ensemble=ensemble, images=image or (), progress=progress)
    output.say(f"{done.question}\n{done.answer}")
    for note in done.notes:
        output.say(f"- {note}")
    content = {"path": str(done.path), "bytes": done.size, "question": done.question, "answer": done.answer}
    output.result(f"{done.path} ({done.size / 1e6:.1f} MB)", content | {"notes": list(done.notes)})


def _place(what: str | None, runs: Path) -> tuple[Path, str | None]:
    """Folder of runs, and the name of the ensemble where one was asked for."""
    folder = runs if what is None else Path(what)
    if what is None or members_folder(folder).is_dir() or ensembles_folder(folder).is_dir():
        return folder, None
    from ensemble.runs.folder import find_run
    from ensemble.runs.status import read_status

    if not is_run(folder) and (folder.is_dir() or not runs.is_dir()):
        where = f"in {folder}" if folder.is_dir() else f"called {what}, and no folder {runs} to look in"
        raise EnsError(f"expected a folder with members/ or an ensemble, found none {where}; check the path or --runs")
    path = find_run(what, runs)
    if read_status(path).get("kind") != "ensemble":
        raise EnsError(f"expected an ensemble or a folder of runs, got the member {path.name}; leave the name out")
    return path.parent.parent, path.name
