"""The record of a run for a tracker: its settings, final scores, history and small files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ensemble import results
from ensemble.core.errors import EnsError
from ensemble.core.files import digest, file_digest, read_json
from ensemble.core.progress import Progress, no_progress
from ensemble.core.reading import guard
from ensemble.runs.layout import CONFIG, ENVIRONMENT, EXAMPLES, HISTORY, SCORES, STATUS
from ensemble.runs.status import check_files, check_recorded, read_status

TAGS = ("kind", "git", "cpu", "device", "finished")
"""Columns of the results table that describe the origin of a run."""

NUMERIC_SETTINGS = ("seed", "folds", "epochs")
"""Columns of the results table whose numbers are settings; all other numbers were measured."""

FILES = (CONFIG, SCORES, ENVIRONMENT, HISTORY)
"""Small files that are exported if they exist."""

LONGEST = 500  # characters of a parameter; longer ones, such as lists of excluded images, are in config.json

Value = str | int | float | bool


@dataclass(frozen=True)
class Point:
    """A value at an epoch; ``time`` is in seconds since 1970."""

    epoch: int
    time: float
    value: float


@dataclass(frozen=True)
class Record:
    """One finished member or ensemble in the form that trackers need.

    Attributes:
        name: name of its directory.
        data: name of its data set.
        parameters: every setting of ``config.json`` by its dotted name, and the columns of the results table that are
            settings.
        metrics: measured values by column of the results table; missing values are left out.
        series: values per epoch: ``epoch/train_loss``, or ``fold-0/train_loss`` for a member with several folds.
        tags: origin of the run.
        note: verdict on an ensemble; empty for a member.
        files: small files to export.
        started, finished: seconds since 1970.
    """

    name: str
    data: str
    parameters: Mapping[str, Value]
    metrics: Mapping[str, float]
    series: Mapping[str, tuple[Point, ...]]
    tags: Mapping[str, str]
    note: str
    files: tuple[Path, ...]
    started: float
    finished: float

    @cached_property
    def digest(self) -> str:
        """Hash of everything that is exported."""
        content = asdict(self) | {"files": [(path.name, file_digest(path)) for path in self.files]}
        return digest(json.dumps(content, sort_keys=True))


Outcome = Literal["new", "changed", "unchanged"]

Put = Callable[[Record], Outcome]
"""Function of a tracker that writes a record and returns whether it was new, changed or unchanged."""


def finished_rows(runs: Path, progress: Progress = no_progress) -> tuple[list[dict[str, Any]], list[str]]:
    """Return rows of the results table in the order in which the runs were finished, and a sentence per unreadable run.

    Raises:
        EnsError: the folder does not exist or holds no finished run.
    """
    frame, problems = results.scan(runs, progress)
    if frame.empty:
        why = f" ({problems[0]})" if problems else ""
        raise EnsError(f"expected a finished member or ensemble in {runs}, found none{why}; train one with `ens train`")
    rows: Any = frame.sort_values(["finished", "name"]).to_dict("records")
    return [{name: value for name, value in row.items() if not pd.isna(value)} for row in rows], problems


def read_record(row: Mapping[str, Any]) -> Record:
    """Return the record of a run from its row of the results table and its directory.

    Args:
        row: row of the results table without missing values.

    Raises:
        EnsError: the directory is damaged.
    """
    path = Path(row["path"])
    status = read_status(path)
    try:
        finished = datetime.fromisoformat(status["finished"]).timestamp()
        started = finished - float(status.get("seconds", 0.0))
    except (KeyError, TypeError, ValueError):
        raise EnsError(
            f"{path / STATUS} is damaged (it has no valid time of completion); make the directory again"
        ) from None
    texts = {name: value for name, value in row.items() if isinstance(value, str | bool) or name in NUMERIC_SETTINGS}
    own = {name: value for name, value in texts.items() if name not in (*TAGS, "name", "path")}
    return Record(
        name=path.name,
        data=row.get("data", "unknown data"),
        parameters={**dict(_flat(read_json(path / CONFIG)["settings"])), **own},
        metrics={name: float(value) for name, value in row.items() if name not in texts},
        series=_history(path, status, started),
        tags={name: row[name] for name in TAGS if name in row} | {"path": str(path.resolve())},
        note=(read_json(path / SCORES).get("verdict") or {}).get("advice", ""),
        files=tuple(path / name for name in FILES if check_recorded(path, status, name))
        + ((path / EXAMPLES,) if (path / EXAMPLES).is_file() else ()),
        started=started,
        finished=finished,
    )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Value]]:
    """Yield settings by dotted name; the name of a component is its value: ``loss``, ``loss.options.gamma``."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, name if name and key == "name" else f"{name}.{key}".strip("."))
    elif isinstance(value, bool | int | float):
        yield name, value
    elif value:  # None and empty lists are left out.
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield name, text if len(text) <= LONGEST else f"{text[:LONGEST]}... (the rest is in config.json)"


def _history(path: Path, status: Mapping[str, Any], started: float) -> dict[str, tuple[Point, ...]]:
    """Return the values per epoch of ``history.csv``; epochs follow each other from ``started`` on, fold by fold."""
    if status.get("kind") == "ensemble":
        return {}
    check_files(path, status, (HISTORY,))
    with guard(path / HISTORY, "CSV", "train the member again"):
        table: Any = pd.read_csv(path / HISTORY)
    if "seconds" in table:  # An imported member was trained elsewhere and has no epochs.
        table["time"] = started + table["seconds"].cumsum()
    series: dict[str, tuple[Point, ...]] = {}
    for fold, part in table.groupby("fold"):
        group = f"fold-{fold}" if table["fold"].nunique() > 1 else "epoch"
        for column in part.columns.difference(["fold", "epoch", "time"], sort=False):
            known = part[part[column].notna()]
            points = zip(known["epoch"], known["time"], known[column], strict=True)
            series[f"{group}/{column}"] = tuple(Point(int(e), float(t), float(v)) for e, t, v in points)
    return {name: points for name, points in series.items() if points}
