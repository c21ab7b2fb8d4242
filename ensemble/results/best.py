"""Find the best value of every column, and write the caveats of comparing rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ensemble.core.errors import EnsError
from ensemble.evaluation.caveats import support_notes, too_few_groups
from ensemble.results.columns import SET
from ensemble.results.comparable import sets_of
from ensemble.results.find_column import column
from ensemble.results.rows import VALIDATION
from ensemble.runs.layout import evaluations_folder
from ensemble.runs.tables import read_tables


def best(frame: pd.DataFrame) -> pd.DataFrame:
    """Mark the best value of each column among the rows of the same data and split.

    Nothing is marked in a set of one row, or in a column in which all rows of the set are equal.

    Args:
        frame: the results table, or groups made by `by`.

    Returns:
        Booleans with the same index, for each column in which high or low values are better.

    >>> table = pd.DataFrame({"miou": [0.5, 0.7], "seconds": [9.0, 9.0], "set": ["a", "a"]})
    >>> best(table)["miou"].tolist(), best(table)["seconds"].tolist()
    ([False, True], [False, False])
    """
    sets = sets_of(frame)
    names = [str(name) for name in frame.columns if column(str(name)).better]
    values: Any = frame[names].astype("float64")
    each = values.groupby(sets, sort=False)
    low, high = each.transform("min"), each.transform("max")
    wanted = pd.DataFrame({name: high[name] if column(name).better == "high" else low[name] for name in names})
    return (values == wanted) & (low < high)


def notes(frame: pd.DataFrame) -> list[str]:
    """Return the notes below a table of runs: incomparable sets, selected epochs, few groups, rare classes."""
    sets = sets_of(frame)
    messages = list[str]()
    if (count := sets.nunique()) > 1:
        messages.append(
            f"These rows come from {count} data sets, splits or sets of classes, which cannot be compared; the best is"
            " marked within each."
        )
    if SET in frame.columns:
        return messages
    messages += _run_notes(frame)
    sets_by_note: dict[str, list[str]] = {}
    for label, rows in frame.groupby(sets, sort=False):
        for note in _support(rows):
            sets_by_note.setdefault(note, []).append(str(label))
    for note, labels in sets_by_note.items():
        messages.append(note if len(labels) == count else f"{', '.join(labels)}: {note}")
    return messages


def _run_notes(frame: pd.DataFrame) -> list[str]:
    """Return the notes on single runs: what is known about the images that score them."""
    messages = list[str]()
    picked = [str(name) for name in frame["name"][frame["selected"].fillna(False)]]
    if picked:
        messages.append(
            f"The epoch of {_some(picked)} was selected on the images that are scored (keep best), so these scores"
            " are too high."
        )
    fitted = [str(name) for name in frame["name"][frame["protocol"].fillna("").eq("in-sample")]]
    if fitted:
        messages.append(
            f"The model of {_some(fitted)} was fitted on the images that are scored (in-sample), so these scores are"
            " too high."
        )
    rows = zip(frame["name"], frame["part"], frame["path"], strict=True)
    again = [str(name) for name, part, path in rows if str(part) == VALIDATION and _is_evaluation(Path(str(path)))]
    if again:
        messages.append(
            f"{_some(again)}: `ens evaluate` scored the validation images of the model once more. This is no other"
            " split, and stands apart only so that no model counts twice."
        )
    twins = [str(name) for name in frame["name"][frame["protocol"].fillna("").str.endswith("of its twin")]]
    if twins:
        messages.append(
            f"The score of {_some(twins)} is that of the twin, which was scored on images that it was not trained on;"
            " the refit itself was trained on all of them."
        )
    claimed = [str(name) for name in frame["name"][frame["protocol"].fillna("").str.endswith(", claimed")]]
    if claimed:
        messages.append(
            f"That {_some(claimed)} was not trained on the images that score it is the claim of whoever imported it."
        )
    seen = [str(name) for name in frame["name"][frame["student"].fillna("").eq("saw test images")]]
    if seen:
        messages.append(
            f"{_some(seen)} learned from the test images, without their labels (`ens distil`), so a score on them says"
            " less about new images."
        )
    return messages


def _is_evaluation(path: Path) -> bool:
    return path.parent == evaluations_folder(path.parent.parent)


def _support(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return notes on few groups and rare classes of one data set and split, from the first run that can be read."""
    for path in rows["path"].head(3):
        try:
            images = read_tables(Path(str(path)))
        except EnsError:
            continue
        few = too_few_groups(len(set(images.groups)))
        return (*filter(None, [few]), *support_notes(images.confusions_nkk, images.groups, images.classes))
    return ()


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
