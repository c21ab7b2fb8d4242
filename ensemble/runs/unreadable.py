"""Members that cannot be read, and the reasons in few words: many runs often share one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.formatting import counted
from ensemble.runs.folder import list_runs
from ensemble.runs.member import Member
from ensemble.runs.status import is_complete
from ensemble.runs.tables import read_tables


def unreadable_members(runs: Path) -> dict[Path, str]:
    """Return the reason for each finished member in a folder of runs whose settings or tables cannot be read."""
    reasons: dict[Path, str] = {}
    for path in list_runs(runs, "member"):
        try:
            if is_complete(path):
                Member.open(path)
                read_tables(path)
        except EnsError as error:
            reasons[path] = str(error)
    return reasons


def said_once(reason_of: Mapping[Path, str]) -> list[str]:
    """Return a sentence for each reason: that of a single run as it is, one of several runs with their names in front.

    Args:
        reason_of: the error about each run.

    >>> said_once({Path("runs/members/a"): "runs/members/a/x.json is lost", Path("b"): "b/x.json is lost"})
    ['2 runs (a, b): x.json is lost']
    """
    alike: dict[str, list[Path]] = {}
    for path, text in reason_of.items():
        reason = text.replace(f"{path}/", "").replace(str(path), "the run")
        alike.setdefault(reason.replace(f"ens remove {path.name}", "ens remove NAME"), []).append(path)
    return [
        f"{counted(len(paths), 'run')} ({', '.join(path.name for path in paths)}): {reason}"
        if len(paths) > 1
        else reason_of[paths[0]]
        for reason, paths in alike.items()
    ]
