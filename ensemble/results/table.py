"""The table itself: a pandas DataFrame with a row per finished member and ensemble."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.results.columns import class_columns, column, order, resolve
from ensemble.results.index import find_rows
from ensemble.results.rows import join_members


class DamagedRun(UserWarning):
    """Runs that `load` had to leave out of the table; the text names each and what to do."""


def load(runs: str | Path = "runs") -> pd.DataFrame:
    """The table of all finished members and ensembles in ``runs``, best mIoU first.

    Columns and types are those of ``ensemble.results.COLUMNS``, with ``iou_<class>`` and its limits for every class
    behind ``miou_keras_high``. What a run does not know is missing (NaN or NA), never 0. A run that cannot be read is
    left out and named in a `DamagedRun` warning. From a hundred runs on, rows are kept in a file of the folder,
    ``.results-index``, that is checked against every run and may be deleted at any time.

    Raises:
        EnsError: no such folder, or one that cannot be read.
    """
    frame, problems = scan(runs)
    for problem in problems:
        warnings.warn(f"left out of the table: {problem}", DamagedRun, stacklevel=2)
    return frame


def scan(runs: str | Path = "runs", progress: Progress = no_progress) -> tuple[pd.DataFrame, list[str]]:
    """What `load` returns, and one sentence for each run that cannot be read.

    Raises:
        EnsError: no such folder, or one that cannot be read.
    """
    root = Path(runs)
    if not root.is_dir():
        raise EnsError(f"there is no folder {root}; train a member with `ens train` first, or give --runs")
    found = find_rows(root, progress)
    members, ensembles = found.rows["members"], found.rows["ensembles"]
    rows = [*members.values(), *(join_members(row, members) for row in ensembles.values())]
    frame = pd.DataFrame(rows)
    frame["path"] = [f"{root / kind}{os.sep}{name}" for kind, known in found.rows.items() for name in known]
    classes = [f"{name}{end}" for name in class_columns(frame.columns) for end in ("", "_low", "_high")]
    ordered = order(classes)
    frame = frame.reindex(columns=ordered).astype({name: column(name).dtype for name in ordered})
    return frame.sort_values("miou", ascending=False, ignore_index=True, kind="stable"), found.problems


def sort(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """Best first: scores descending; losses, errors, costs and texts ascending; what is missing last.

    Raises:
        UnknownName: no such column.
    """
    name = resolve(by, frame.columns)
    known: Any = column(name)
    ascending = known.better == "low" or known.dtype == "string"
    return frame.sort_values(name, ascending=ascending, ignore_index=True, kind="stable")
