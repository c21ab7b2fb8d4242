"""Runs in the trackers that people already use: a local MLflow store, or TensorBoard's event files."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.progress import Progress, no_progress
from ensemble.tracking.record import Outcome, finished_rows, read_record

TRACKERS = {"mlflow": "ensemble.tracking.mlflow_store", "tensorboard": "ensemble.tracking.event_files"}
"""Modules by tracker; each has ``open_store(folder) -> Put`` and ``view(folder) -> str``, and needs its package."""


@dataclass(frozen=True)
class Export:
    """What `track` did.

    Attributes:
        place: folder of the tracker's files.
        outcomes: what became of each run, by name.
        problems: a sentence for each run that could not be read and was left out.
        view: the command that shows the runs.
    """

    place: Path
    outcomes: Mapping[str, Outcome]
    problems: Sequence[str]
    view: str

    def count(self, outcome: Outcome) -> int:
        """Number of runs with that outcome."""
        return list(self.outcomes.values()).count(outcome)


def track(
    runs: str | Path = "runs", to: str = "mlflow", *, out: str | Path | None = None, progress: Progress = no_progress
) -> Export:
    """Export every finished member and ensemble to a tracker; nothing leaves this machine.

    A run is known in the tracker by its name, which is a hash of its settings and data. What was exported before and
    is the same now is left alone; what changed (trained or scored again) takes the place of the old one. Runs that are
    no longer in ``runs`` stay in the tracker.

    Args:
        runs: folder for runs.
        to: ``mlflow`` or ``tensorboard``.
        out: folder of the tracker's files; ``tracking/<to>`` in ``runs`` where left out. MLflow remembers where
            artifacts are by absolute path, so its folder is not to be moved.
        progress: callback that receives the progress.

    Returns:
        The folder, the outcome of each run, what was left out, and the command to look at them.

    Raises:
        EnsError: an unknown tracker, its package missing, nothing to export, or an unwritable folder.

    >>> track(to="wandb")
    Traceback (most recent call last):
    ensemble.core.errors.UnknownName: unknown tracker 'wandb'. Known: mlflow, tensorboard
    """
    tracker = _tracker(to)
    place = Path(out) if out is not None else Path(runs) / "tracking" / to
    rows, problems = finished_rows(Path(runs), progress)
    put = tracker.open_store(place)
    outcomes: dict[str, Outcome] = {}
    for number, row in enumerate(rows, start=1):
        try:
            told = read_record(row)
        except EnsError as error:
            problems.append(str(error))
        else:
            outcomes[told.name] = put(told)
        progress(f"export to {to}", number, len(rows), row["name"])
    return Export(place, outcomes, problems, tracker.view(place))


def _tracker(name: str) -> Any:
    """The module of a tracker, which needs a package that not everybody has."""
    if name not in TRACKERS:
        raise UnknownName("tracker", name, TRACKERS)
    try:
        return importlib.import_module(TRACKERS[name])
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ensemble"):
            raise
        raise EnsError(
            f"expected the package {name} for --to {name}, found no module '{error.name}'; run `pip install {name}`"
        ) from None
