"""Estimate time, memory and disk of a study from steps measured on this machine; train and write nothing."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import mean
from typing import Any

import pandas as pd

from ensemble.core.progress import Progress, no_progress
from ensemble.study.plan_study import PlannedMember
from ensemble.training import cost as measure
from ensemble.training.cost import MeasureSettings

OVERHEAD = 1.15  # training with validation, predictions and stores takes this multiple of the steps (measured)
START_SECONDS = 8.0  # seconds to start a process and load its libraries


def estimate(planned: Sequence[PlannedMember], jobs: int = 1, progress: Progress = no_progress) -> pd.DataFrame:
    """Estimate seconds, memory and disk of every member: measure a few steps of each architecture in new processes.

    Args:
        planned: from `ensemble.study.plan_study.plan_study`.
        jobs: members trained at a time; this many processes measure the same steps at the same time.
        progress: callback that receives the progress.

    Returns:
        A row per member: ``label``, ``state``, ``parameters``, ``images_per_second``, ``seconds`` with ``jobs`` members
        at a time (0 if it is trained already), ``memory_mb`` in addition to the libraries, ``disk_mb``, and ``note``:
        the error if the steps cannot be measured.
    """
    kinds = {_kind(one): one.measured for one in planned if not one.is_complete}
    costs = _measure(kinds, jobs, progress)
    return pd.DataFrame([_row(one, {} if one.is_complete else costs[_kind(one)]) for one in planned])


def _kind(member: PlannedMember) -> str:
    """Return a text that members with the same training step share."""
    return member.measured.model_dump_json()


def _measure(kinds: Mapping[str, MeasureSettings], jobs: int, progress: Progress) -> dict[str, Mapping[str, Any]]:
    """Measure each kind of training step once."""
    costs: dict[str, Mapping[str, Any]] = {}
    for done, (key, settings) in enumerate(kinds.items()):
        progress("measuring steps", done, len(kinds), settings.name)
        costs[key] = _measure_at_once(settings, jobs)
    progress("measuring steps", len(kinds), len(kinds))
    return costs


def _row(member: PlannedMember, cost: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of one member; ``cost`` is empty if the member is trained already."""
    rate = cost.get("train_images_per_second")
    seconds = 0.0 if member.is_complete else member.seconds
    if seconds is None and rate and member.images is not None:
        seconds = START_SECONDS + OVERHEAD * member.images / rate
    return {
        "label": member.entry.label,
        "state": member.state,
        "parameters": member.parameters,
        "images_per_second": rate,
        "seconds": seconds,
        "memory_mb": cost.get("peak_memory_mb"),
        "disk_mb": 0.0 if member.is_complete else member.disk / 1e6,
        "note": cost.get("error") or "",
    }


def _measure_at_once(settings: MeasureSettings, copies: int) -> Mapping[str, Any]:
    """Measure in several processes at the same time: mean speed and largest memory, or the first error."""
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


def total_seconds(seconds: Iterable[float], jobs: int) -> float:
    """Return the seconds until the last member ends; each starts, in this order, when one of ``jobs`` places is free.

    >>> total_seconds([3, 5, 4], 2)
    7.0
    """
    free_at = [0.0] * jobs
    for one in seconds:
        heapq.heapreplace(free_at, free_at[0] + one)
    return float(max(free_at))
