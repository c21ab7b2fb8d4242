"""What a study will take, from steps measured on this machine: nothing is trained, nothing is written."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import mean
from typing import Any

import pandas as pd

from ensemble.core.progress import Progress, no_progress
from ensemble.study.run import Planned
from ensemble.training import cost as measure
from ensemble.training.cost import MeasureSettings

OVERHEAD = 1.15  # validation after every epoch, predictions and stores, as a share of the training steps: measured
START = 8.0  # seconds to start a process and load its libraries


def estimate(planned: Sequence[Planned], jobs: int = 1, progress: Progress = no_progress) -> pd.DataFrame:
    """Seconds, memory and disk of every member, from a few steps of each architecture measured in fresh processes.

    Args:
        planned: from `ensemble.study.run.plan_study`.
        jobs: members trained at a time; as many processes measure the same steps beside each other.
        progress: callback that receives the progress.

    Returns:
        A row per member: ``label``, ``state``, ``parameters``, ``images_per_second``, ``seconds`` with ``jobs`` at a
        time (0 where it is trained already), ``memory_mb`` beyond the libraries, ``disk_mb``, and ``note`` where it
        cannot be measured.
    """
    todo = [one for one in planned if one.state != "complete"]
    kinds = {one.measured.model_dump_json(): one.measured for one in todo}
    speed = {}
    for done, (key, settings) in enumerate(kinds.items()):
        progress("measuring steps", done, len(kinds), settings.name)
        speed[key] = _beside_each_other(settings, jobs)
    progress("measuring steps", len(kinds), len(kinds))
    rows = []
    for one in planned:
        found = speed.get(one.measured.model_dump_json(), {}) if one.state != "complete" else {}
        rate = found.get("train_images_per_second")
        seconds = 0.0 if one.state == "complete" else one.seconds
        if seconds is None and rate and one.images is not None:
            seconds = START + OVERHEAD * one.images / rate
        rows.append(
            {
                "label": one.entry.label,
                "state": one.state,
                "parameters": one.parameters,
                "images_per_second": rate,
                "seconds": seconds,
                "memory_mb": found.get("peak_memory_mb"),
                "disk_mb": 0.0 if one.state == "complete" else one.disk / 1e6,
                "note": found.get("error") or "",
            }
        )
    return pd.DataFrame(rows)


def _beside_each_other(settings: MeasureSettings, copies: int) -> Mapping[str, Any]:
    """The same measurement in several processes at the same time: mean speed and most memory, or the first error."""
    with ThreadPoolExecutor(copies) as pool:
        rows = list(pool.map(measure.in_a_fresh_process, [settings] * copies))
    failed = next((row for row in rows if row["error"]), None)
    if failed is not None:
        return failed
    return {
        "error": None,
        "train_images_per_second": mean(row["train_images_per_second"] for row in rows),
        "peak_memory_mb": max(row["peak_memory_mb"] for row in rows),
    }


def seconds_of_all(seconds: Iterable[float], jobs: int) -> float:
    """Seconds until the last one ends where each starts, in this order, as soon as one of ``jobs`` places is free.

    >>> seconds_of_all([3, 5, 4], 2)
    7.0
    """
    free_at = [0.0] * jobs
    for one in seconds:
        heapq.heapreplace(free_at, free_at[0] + one)
    return float(max(free_at))
