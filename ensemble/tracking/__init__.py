"""Export runs to a tracker that people already use: a local MLflow store, or TensorBoard's event files."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.locks import locked
from ensemble.core.progress import Progress, no_progress
from ensemble.tracking.record import Outcome, finished_rows, read_record

TRACKERS = {"mlflow": "ensemble.tracking.mlflow_store", "tensorboard": "ensemble.tracking.event_files"}
"""Modules by tracker; each has ``open_store(folder) -> Put`` and ``view(folder) -> str``, and needs a package."""


@dataclass(frozen=True)
class Export:
    """Result of ``track``.

    Attributes:
        place: folder of the tracker's files.
        outcomes: outcome of each run by its name.
        problems: a sentence for each run that could not be read and was left out.
        view: command that shows the runs.
    """

    place: Path
    outcomes: Mapping[str, Outcome]
    problems: Sequence[str]
    view: str

    def count(self, outcome: Outcome) -> int:
        """Return the number of runs with this outcome."""
        return list(self.outcomes.values()).count(outcome)


def track(
    runs: str | Path = "runs", to: str = "mlflow", *, out: str | Path | None = None, progress: Progress = no_progress
) -> Export:
    """Export every finished member and ensemble to a tracker; nothing leaves this machine.

    The tracker identifies a run by its name, which contains a hash of its settings and data. A run that has not changed
    since the last export is not written again; a run that has changed (trained or scored again) replaces the old one.
    Runs that are no longer in ``runs`` stay in the tracker.

    Args:
        runs: folder for runs.
        to: ``mlflow`` or ``tensorboard``.
        out: folder of the tracker's files (default: ``tracking/<to>`` in ``runs``). Do not move the folder of MLflow:
            it stores the places of its artifacts as absolute paths.
        progress: callback that receives the progress.

    Returns:
        The folder, the outcome of each run, the problems, and the command that shows the runs.

    Raises:
        EnsError: the tracker is unknown, its package is missing, there is nothing to export, the folder cannot be
            written, or another process exports to it.

    >>> track(to="wandb")
    Traceback (most recent call last):
    ensemble.core.errors.UnknownName: unknown tracker 'wandb'. Known: mlflow, tensorboard
    """
    tracker = _tracker(to)
    place = Path(out) if out is not None else Path(runs) / "tracking" / to
    rows, problems = finished_rows(Path(runs), progress)
    outcomes: dict[str, Outcome] = {}
    with locked(place):  # two exports at once would write every run twice
        put = tracker.open_store(place)
        for number, row in enumerate(rows, start=1):
            try:
                record = read_record(row)
            except EnsError as error:
                problems.append(str(error))
            else:
                outcomes[record.name] = put(record)
            progress(f"export to {to}", number, len(rows), row["name"])
    return Export(place, outcomes, problems, tracker.view(place))


def _tracker(name: str) -> Any:
    """Import the module of a tracker, which needs an optional package."""
    if name not in TRACKERS:
        raise UnknownName("tracker", name, TRACKERS)
    try:
        return importlib.import_module(TRACKERS[name])
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ensemble"):
            raise
        raise EnsError(
            f"the tracker {name} needs the package {name}, but the module '{error.name}' is missing; run `pip install"
            f" {name}`"
        ) from None
