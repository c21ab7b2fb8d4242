"""``ens remove``: delete members and ensembles that no other ensemble needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs
from ensemble.core.errors import EnsError

EXAMPLE = "Example:  ens remove unet-ce-s0-7ca07c learned-3-1a2b3c    or    ens remove unet-ce-s0-7ca07c --yes"


def remove(
    names: Annotated[
        list[str], typer.Argument(help="Members and ensembles: name, unique beginning, STUDY:LABEL or path.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Delete members and ensembles, except members that an ensemble needs or that are being trained."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.runs.remove import plan_removal, remove_planned

    removal = plan_removal(names, runs)
    for path in removal.paths:
        output.say(f"  {escape(str(path))}")
    what = f"{len(removal.paths)} director{'y' if len(removal.paths) == 1 else 'ies'} ({removal.size / 1e6:.1f} MB)"
    if not yes:
        if not has_terminal():
            raise EnsError(f"cannot ask for confirmation (not a terminal); pass --yes to remove {what}")
        if not typer.confirm(f"remove {what} for good?", err=True):
            output.result("nothing removed", {"removed": []})
            raise typer.Exit(1)
    remove_planned(removal)
    output.result(f"removed {what}", {"removed": [str(path) for path in removal.paths], "bytes": removal.size})


def has_terminal() -> bool:
    """Return whether a person at a terminal can confirm."""
    return sys.stdin.isatty()
