"""Load the results table: a pandas DataFrame with a row per finished member and ensemble."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.core.reading import is_folder
from ensemble.results.class_scores import class_columns, class_score_columns
from ensemble.results.find_column import column, order, resolve
from ensemble.results.rows import Row, join_members, join_model, read_row
from ensemble.runs.ensemble_dir import member_names
from ensemble.runs.folder import list_runs
from ensemble.runs.layout import Kind, ensembles_folder, is_name, is_run, sibling_member
from ensemble.runs.status import advice, missing_files
from ensemble.runs.unreadable import said_once

MANY = 100
"""Number of runs from which on progress is reported; fewer are read in a moment."""


class DamagedRun(UserWarning):
    """Runs that `load` had to leave out of the table for one reason; the text names them and what to do."""


def load(runs: str | Path = "runs", *, evaluations: bool = True) -> pd.DataFrame:
    """Return the table of all finished members, ensembles and evaluations in ``runs``, best mIoU first.

    Evaluations (`ens evaluate`) have the ``part`` ``test``, or ``validation`` in native pixels; ``evaluations=False``
    leaves them out.

    Columns and types are those of ``ensemble.results.COLUMNS``, with ``iou_<class>`` and its limits for every class
    after ``miou_keras_high``. A value that a run does not know is missing (NaN or NA), never 0. A run that cannot be
    read is left out and named in a `DamagedRun` warning.

    Raises:
        EnsError: the folder does not exist or cannot be read.
    """
    frame, problems = scan(runs, evaluations=evaluations)
    for problem in problems:
        warnings.warn(f"left out of the table: {problem}", DamagedRun, stacklevel=2)
    return frame


def scan(
    runs: str | Path = "runs", progress: Progress = no_progress, *, evaluations: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table of `load`, and one sentence for each reason why runs cannot be read, with their names.

    Raises:
        EnsError: the folder does not exist or cannot be read.
    """
    root = Path(runs)
    if not is_folder(root):
        raise EnsError(f"there is no folder {root}; train a member with `ens train` first, or choose another folder")
    problems: dict[Path, str] = {}
    members = _read(root, "member", problems, progress)
    ensembles = _read(root, "ensemble", problems, progress)
    ensembles = {name: join_members(row, members) for name, row in ensembles.items()}
    rows = [*members.values(), *ensembles.values()]
    if evaluations:
        scored = _read(root, "evaluation", problems, progress)
        rows += [join_model(row, members | ensembles) for row in scored.values()]
    frame = pd.DataFrame(rows, columns=None if rows else ["path"])
    classes = [f"{name}{end}" for name in class_columns(frame.columns) for end in ("", "_low", "_high")]
    scores = [f"{name}{end}" for name in class_score_columns(frame.columns) for end in ("", "_low", "_high")]
    others = [name for name in scores if name in frame.columns]
    ordered = order(classes, others)
    frame = frame.reindex(columns=ordered).astype({name: column(name).dtype for name in ordered}).copy()
    return frame.sort_values("miou", ascending=False, ignore_index=True, kind="stable"), said_once(problems)


def losses(frame: pd.DataFrame) -> list[str]:
    """Return a sentence for each run of the table that has lost a file, and for each ensemble that lacks a member.

    The table needs neither, but other commands do. Files are looked for, not read: `ens verify` reads them.
    """
    sentences: list[str] = []
    for path in map(Path, frame["path"]):
        combined = path.parent == ensembles_folder(path.parent.parent)
        try:
            lost, needed = missing_files(path), member_names(path) if combined else ()
        except EnsError:  # removed since the table was read
            continue
        if lost:
            sentences.append(f"{path} has lost {', '.join(lost)}; {advice(path)}")
        sentences += [
            f"{path} needs the member {name}, which is missing; copy it there, or train it again"
            for name in needed
            if not (is_name(name) and sibling_member(path, name).is_dir())
        ]
    return sentences


def _read(root: Path, kind: Kind, problems: dict[Path, str], progress: Progress) -> dict[str, Row]:
    """Return the rows of the finished runs of a kind by name; ``problems`` receives why a run cannot be read."""
    rows: dict[str, Row] = {}
    paths = list_runs(root, kind)
    for count, path in enumerate(paths, 1):
        try:
            if not os.access(path, os.R_OK | os.X_OK):
                raise EnsError(f"{path} cannot be read (no permission); allow it, or move it away")
            row = read_row(path) if is_run(path) else None
        except EnsError as error:
            problems[path] = str(error)
            continue
        if row is not None:
            rows[path.name] = row | {"path": str(path)}
        if len(paths) >= MANY:
            progress("reading runs", count, len(paths), path.name)
    return rows


def sort(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return the table sorted by a column, best first.

    Scores are sorted from the largest; losses, errors, costs and texts from the smallest; missing values come last.

    Raises:
        UnknownName: the table has no such column.
    """
    name = resolve(by, frame.columns)
    known: Any = column(name)
    ascending = known.better == "low" or known.dtype == "string"
    return frame.sort_values(name, ascending=ascending, ignore_index=True, kind="stable")
