"""Fit pipelines on all images, and again without each fold."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.combiner import Combiner
from ensemble.combining.fit_data import FitData
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.pool import Pool
from ensemble.combining.registry import FIT_ERRORS
from ensemble.combining.stopping import StoppedEarly
from ensemble.core import threads
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress
from ensemble.core.threads import in_threads

COPIES = 2  # of the data at the same time


@dataclass(frozen=True)
class FoldFits:
    """The pools of one pipeline; `CrossFit` explains the attributes."""

    pipeline: Pipeline
    pool: Combiner
    fold_pools: tuple[Combiner, ...]
    was_fitted: bool
    seconds: float
    stopped: StoppedEarly | None = None

    @cached_property
    def key(self) -> str:
        """A text that two fits share if their pools are equal: ``auto``, and the method that it chose in every fold."""
        return json.dumps([replace(cast(Any, pool), chosen="").to_json() for pool in self.pools])

    @property
    def pools(self) -> tuple[Combiner, ...]:
        """The pool of all images, then those of the folds."""
        return self.pool, *self.fold_pools

    @property
    def differs(self) -> bool:
        """Whether a pool of a fold differs from that of all images."""
        return any(fold_pool.to_json() != self.pool.to_json() for fold_pool in self.fold_pools)

    @property
    def reach(self) -> int:
        """Rows around a strip of an image that some pool depends on."""
        return max(pool.reach for pool in self.pools)


def fit_folds(
    fit_data: FitData,
    pipelines: Sequence[Pipeline],
    fold_n: NDArray[np.int64],
    folds: int,
    failed: dict[int, str] | None,
    progress: Progress,
) -> list[FoldFits]:
    """Fit pipelines on all images, and without each fold; the arguments are those of `cross_fit_all`.

    The data are copied once per fold, and at most ``COPIES`` copies exist at a time. Fits run side by side in threads:
    NumPy works without Python's lock, and no fit depends on another.

    Raises:
        EnsError: a pipeline cannot be fitted, and there is no ``failed`` that could receive the reason.
    """
    made: list[list[Combiner]] = [[] for _ in pipelines]
    sizes, one = (fit_data.members, fit_data.classes), len(pipelines) == 1
    looks = any(pipeline.fits(*sizes) for pipeline in pipelines)
    seconds = [0.0 for _ in pipelines]
    failures: dict[int, str] = {} if failed is None else failed
    left_out, at_once = (None, *range(folds)), COPIES if one else 1
    for done in range(0, len(left_out), at_once):
        now = left_out[done : done + at_once]
        parts = [fit_data.of_images(fold_n != fold) if looks and fold is not None else fit_data for fold in now]
        left = [index for index in reversed(range(len(pipelines))) if index not in failures]  # auto, the longest, first
        tasks = [(index, part) for part in parts for index in left]
        found = in_threads(lambda task: _timed_fit(task[1], pipelines[task[0]]), tasks, threads.CORES)
        for (index, _), (pool, took) in zip(tasks, found, strict=True):
            seconds[index] += took
            if not isinstance(pool, Exception):
                made[index].append(pool)
            elif failed is None:
                raise _refused(pipelines[index], pool) from pool
            else:
                failures[index] = str(pool)
        progress(f"fitting {pipelines[0].method}" if one else "fitting", done + len(now), len(left_out))
    return [
        FoldFits(each, made[place][0], tuple(made[place][1:]), each.fits(*sizes), seconds[place])
        for place, each in enumerate(pipelines)
        if place not in failures
    ]


def _timed_fit(part: FitData, pipeline: Pipeline) -> tuple[Combiner | Exception, float]:
    """Return the fitted pipeline, or the error that prevents it, and the seconds that this took."""
    start = time.perf_counter()
    try:
        fitted = _fit(pipeline, part)
    except FIT_ERRORS as error:
        fitted = error
    return fitted, time.perf_counter() - start


def _fit(pipeline: Pipeline, part: FitData) -> Combiner:
    """Fit a pipeline; the average if nothing is labelled (a pool fitted on all images would know the left-out fold)."""
    return pipeline.fit(part) if part.pixels else Pool.uniform(part.members, part.classes)


def _refused(pipeline: Pipeline, error: Exception) -> EnsError:
    """Return the error of a pipeline that cannot be fitted."""
    if isinstance(error, EnsError):
        return error
    return EnsError(f"{pipeline.title} cannot be fitted to these members ({error}); choose another method")
