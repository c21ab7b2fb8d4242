"""Runs by the label that they have in a study: ``STUDY:LABEL``."""

from __future__ import annotations

from pathlib import Path

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.reading import is_file, is_folder
from ensemble.core.texts import read_table
from ensemble.runs.layout import studies_folder


def labelled_name(name: str, runs: Path) -> str:
    """Return the name of the run that ``STUDY:LABEL`` means; other names stay as they are.

    Args:
        name: name of a run; or the name of a study in ``runs``, a colon, and a label of its table, or the unique
            beginning of one.
        runs: folder of members, ensembles and studies.

    Raises:
        EnsError: there is no such study, it has no such label, or several begin so, or that run was not finished.

    >>> labelled_name("unet-ce-s0-7ca07c", Path("runs"))
    'unet-ce-s0-7ca07c'
    """
    study, colon, label = name.partition(":")
    path = studies_folder(runs) / f"{study}.csv"
    if not colon or "/" in study or "\\" in study:
        return name
    if not is_file(path):
        raise UnknownName("study", study, _studies(runs))
    rows = read_table(path, ("label", "name"), "repeat `ens study`, which writes it").rows
    names = {row["label"]: row.get("name", "") for row in rows if row.get("label")}
    found = [label] if label in names else [one for one in names if label and one.startswith(label)]
    if not found:
        raise UnknownName(f"label of the study '{study}'", label, names)
    if len(found) > 1:
        labels = ", ".join(found)
        raise EnsError(
            f"'{label}' begins {len(found)} labels of the study '{study}' ({labels}); give more of the label"
        )
    if not names[found[0]]:
        raise EnsError(f"'{found[0]}' of the study '{study}' was not finished; repeat `ens study` with its recipe")
    return names[found[0]]


def _studies(runs: Path) -> list[str]:
    """Return the names of the studies in a folder of runs."""
    folder = studies_folder(runs)
    return sorted(path.stem for path in folder.glob("*.csv")) if is_folder(folder) else []
