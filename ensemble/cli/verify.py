"""``ens verify``: compare every file of a folder of runs with its checksum."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet

EXAMPLE = "Example:  ens verify runs"


def verify(
    runs: Annotated[Path, typer.Argument(help="Folder that holds members and ensembles.")] = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Name every damaged or missing file of members and ensembles; exit code 1 where there is one."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.runs.verify import verify as verify_runs

    with output.progress() as progress:
        found = verify_runs(runs, progress)
    for problem in found.problems:
        output.say(f"  {escape(problem)}")
    if found.damaged:
        names = " ".join(found.damaged)
        output.say(f"  `ens remove {escape(f'{names} --runs {runs}')}` makes room for them to be made again")
    if found.unfinished:
        output.say(f"  not finished: {escape(', '.join(found.unfinished))}; the same train command goes on")
    looked = f"{found.files + len(found.problems)} files of {found.members} members and {found.ensembles} ensembles"
    count = len(found.problems)
    output.result(f"{looked}: {f'{count} damaged or missing' if count else 'all as they were written'}", asdict(found))
    if found.problems:
        raise typer.Exit(1)
