"""Cross-fitting: score everything that is fitted on images that it was not fitted on."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ensemble.combining.alignment import Aligned
from ensemble.combining.arithmetic import first_class
from ensemble.combining.by_fold import apply_by_fold, best_elsewhere, pool_by_fold
from ensemble.combining.cascade import Cascade
from ensemble.combining.combiner import Combiner
from ensemble.combining.copies import near_copies
from ensemble.combining.decision import RULES, Decision, fit_decision
from ensemble.combining.fit_data import FitData, gather_fit_data
from ensemble.combining.pipeline import DECISION_PIXELS, Pipeline
from ensemble.combining.pixel_sample import PixelSample
from ensemble.combining.pool import Pool
from ensemble.combining.registry import FIT_ERRORS
from ensemble.combining.small_objects import SIZES, SizeTable
from ensemble.combining.stopping import StoppedEarly, stop_early
from ensemble.core import threads
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.core.threads import in_threads
from ensemble.data.rarest import rarest_class_per_image
from ensemble.data.split import group_folds
from ensemble.evaluation.confusion import confusion_per_image, mean_iou
from ensemble.evaluation.scores import Tally
from ensemble.evaluation.strips import PredictedBatch


@dataclass(frozen=True)
class CrossFit:
    """A pipeline fitted on all images, and scored fold by fold on images it was not fitted on.

    Attributes:
        pool: fitted on all images; this one predicts new images.
        fold_pools: fitted without the images of each fold.
        fold_n: fold of each image.
        crossfit: scores of the fold pools, each on its own fold.
        in_sample: scores of ``pool`` on the images of its fit, which are too good if anything was fitted.
        average: scores of the uniform average.
        members_mnkk: confusion matrices of every member (members, images, classes, classes).
        best_n: for each image the member that is best on the other folds.
        was_fitted: whether the parameters depend on the images, unlike those of ``average`` and ``weighted``.
        seconds: duration of all the fits.
        copies: a sentence for each member that is nearly the same as another one.
        stopped: what a cascade saves and loses; None if there is none.
    """

    pool: Combiner
    fold_pools: tuple[Combiner, ...]
    fold_n: NDArray[np.int64]
    crossfit: Tally
    in_sample: Tally
    average: Tally
    members_mnkk: NDArray[np.int64]
    best_n: NDArray[np.int64]
    was_fitted: bool = True
    seconds: float = 0.0
    copies: tuple[str, ...] = ()
    stopped: StoppedEarly | None = None

    @property
    def best_member_nkk(self) -> NDArray[np.int64]:
        """Confusions of the system that takes, for each fold, the member that is best on the other folds."""
        return self.members_mnkk[self.best_n, np.arange(len(self.best_n))]


def cross_fit(
    aligned: Aligned, pipeline: Pipeline, *, folds: int = 5, seed: int = 0, progress: Progress = no_progress
) -> CrossFit:
    """Fit a pipeline without each fold of image groups, score it on that fold, and fit it on all images as well.

    Raises:
        EnsError: fewer groups than folds, or options the method refuses.
    """
    return cross_fit_all(aligned, [pipeline], folds=folds, seed=seed, progress=progress)[0]


def cross_fit_all(
    aligned: Aligned,
    pipelines: Sequence[Pipeline],
    *,
    folds: int = 5,
    seed: int = 0,
    failed: dict[int, str] | None = None,
    shapes: bool = True,
    progress: Progress = no_progress,
) -> list[CrossFit]:
    """Cross-fit several pipelines on the same folds; the stores are read twice for all pipelines together.

    Args:
        aligned, pipelines, folds, seed, progress: as for `cross_fit`.
        failed: receives the reason, by place, of each pipeline whose fit fails; the result then lacks it. Without it
            such a failure is raised.
        shapes: count objects and pixels near boundaries, too; see `Tally`.

    Raises:
        EnsError: fewer groups than folds, or options that a method refuses.
    """
    fit_data = gather_fit_data(aligned, progress, neighbourhood=any(pipeline.neighbourhood for pipeline in pipelines))
    counts_nk = np.zeros((len(aligned.ids), fit_data.classes), np.int64)
    np.add.at(counts_nk, (fit_data.image_p, fit_data.labels_p), 1)
    fold_n = group_folds(aligned.groups, rarest_class_per_image(counts_nk), folds, seed, counts_nk)
    # The matrices are only a few members wide, so threads of BLAS gain nothing. If other work shares the cores, the
    # threads spin while they wait for each other: stacking took 85 s instead of 6 s.
    with threadpool_limits(1, user_api="blas"):
        fits = _fit_all(fit_data, pipelines, fold_n, folds, failed, progress)
        fits = _stop_early(aligned, fits, fold_n, progress)
        fits = _decide_from_images(aligned, fits, fold_n, progress)
        fits = _remove_small_objects(aligned, fits, fold_n, progress)
        copies = near_copies(fit_data, aligned.names)
        return [replace(fit, copies=copies) for fit in _score(aligned, fits, fold_n, shapes, progress)]


@dataclass(frozen=True)
class _Fit:
    pipeline: Pipeline
    pool: Combiner
    fold_pools: tuple[Combiner, ...]
    was_fitted: bool
    seconds: float
    stopped: StoppedEarly | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What `CrossFit` keeps in addition to pools and scores."""
        return {"was_fitted": self.was_fitted, "seconds": self.seconds, "stopped": self.stopped}

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


def _fit_all(
    fit_data: FitData,
    pipelines: Sequence[Pipeline],
    fold_n: NDArray[np.int64],
    folds: int,
    failed: dict[int, str] | None,
    progress: Progress,
) -> list[_Fit]:
    """Fit fold by fold, so that the data are copied once per fold and only one copy exists at a time.

    Pipelines are fitted side by side in threads: NumPy works without Python's lock, and no fit depends on another.
    """
    made: list[list[Combiner]] = [[] for _ in pipelines]
    sizes = fit_data.members, fit_data.classes
    looks = any(pipeline.fits(*sizes) for pipeline in pipelines)
    seconds = [0.0 for _ in pipelines]
    failures: dict[int, str] = {} if failed is None else failed
    for fold in (None, *range(folds)):
        part = fit_data.of_images(fold_n != fold) if looks and fold is not None else fit_data
        left = [index for index in reversed(range(len(pipelines))) if index not in failures]  # auto, the longest, first
        found = in_threads(partial(_timed_fit, part), [pipelines[index] for index in left], threads.CORES)
        for index, (pool, error, took) in zip(left, found, strict=True):
            seconds[index] += took
            if pool is not None:
                made[index].append(pool)
            elif failed is None:
                assert error is not None
                raise _refused(pipelines[index], error) from error
            else:
                failures[index] = str(error)
        if len(pipelines) > 1:
            progress("fitting", 1 if fold is None else fold + 2, folds + 1)
        elif fold is not None:
            progress(f"fitting {pipelines[0].method}", fold + 1, folds)
    return [
        _Fit(each, made[place][0], tuple(made[place][1:]), each.fits(*sizes), seconds[place])
        for place, each in enumerate(pipelines)
        if place not in failures
    ]


def _timed_fit(part: FitData, pipeline: Pipeline) -> tuple[Combiner | None, Exception | None, float]:
    """Return the fitted pipeline, or why it cannot be fitted, and the seconds that this took."""
    start, pool, failure = time.perf_counter(), None, None
    try:
        pool = _fit(pipeline, part)
    except FIT_ERRORS as error:
        failure = error
    return pool, failure, time.perf_counter() - start


def _refused(pipeline: Pipeline, error: Exception) -> EnsError:
    if isinstance(error, EnsError):
        return error
    return EnsError(f"{pipeline.title} cannot be fitted to these members ({error}); choose another method")


def _fit(pipeline: Pipeline, part: FitData) -> Combiner:
    """Fit a pipeline; the average if nothing is labelled (a pool fitted on all images would know the left-out fold)."""
    return pipeline.fit(part) if part.pixels else Pool.uniform(part.members, part.classes)


def _stop_early(aligned: Aligned, fits: Sequence[_Fit], fold_n: NDArray[np.int64], progress: Progress) -> list[_Fit]:
    """Return the fits, the cascades with thresholds at which images stop."""
    found = list(fits)
    for place, fit in enumerate(fits):
        cascades = [pool for pool in fit.pools if isinstance(pool, Cascade)]
        if fit.pipeline.keep_gain is not None and len(cascades) == len(fit.pools):
            (pool, *folds), stopped = stop_early(aligned, cascades, fold_n, fit.pipeline.keep_gain, progress)
            found[place] = replace(fit, pool=pool, fold_pools=tuple(folds), stopped=stopped)
    return found


def _reach(fits: Sequence[_Fit]) -> int:
    """Return the rows around a strip that some pool depends on."""
    return max(pool.reach for fit in fits for pool in fit.pools)


def _decide_from_images(
    aligned: Aligned, fits: Sequence[_Fit], fold_n: NDArray[np.int64], progress: Progress
) -> list[_Fit]:
    """Return the fits, those that decide from the predicted images with one decision for all images.

    Each image gives the probabilities of the pool of its own fold, which was fitted without it. All pixels count, void
    ones as well, because nobody knows the void of new images. So no label has a part in the decision, and it may come
    from the images that are scored.
    """
    asking = [place for place, fit in enumerate(fits) if fit.pipeline.decide_from == "images"]
    samples = {place: (PixelSample(DECISION_PIXELS), PixelSample(DECISION_PIXELS)) for place in asking}
    for batch in aligned.batches(halo=_reach(fits)) if asking else ():
        for place, (honest, fitted) in samples.items():
            honest.add(batch.cut(pool_by_fold(fits[place].fold_pools, fold_n[batch.rows], batch.probs_mnchw)))
            fitted.add(batch.cut(fits[place].pool(batch.probs_mnchw)))
        progress("reading probabilities", batch.rows.stop, len(aligned.ids))
    found = list(fits)
    for place, (honest, fitted) in samples.items():
        shared, own = (_fit_decision(sample, fits[place].pipeline) for sample in (honest, fitted))
        pools = tuple(pool.deciding(shared) for pool in fits[place].fold_pools)
        found[place] = replace(fits[place], pool=fits[place].pool.deciding(own), fold_pools=pools)
    return found


def _fit_decision(sample: PixelSample, pipeline: Pipeline) -> Decision:
    return fit_decision(lambda: [sample.probs_cp], RULES[pipeline.decide])


def _remove_small_objects(
    aligned: Aligned, fits: Sequence[_Fit], fold_n: NDArray[np.int64], progress: Progress
) -> list[_Fit]:
    """Return the fits, those with ``smallest_object="auto"`` with the best sizes on the images that each pool knows.

    The pool of a fold decides the images of the other folds, whose labels choose its sizes; equal pools decide once.
    """
    tables: dict[int, list[SizeTable]] = {
        place: [SizeTable(len(aligned.classes)) for _ in fit.pools]
        for place, fit in enumerate(fits)
        if fit.pipeline.smallest_object == "auto"
    }
    for batch in aligned.batches(halo=max(SIZES[-1], _reach(fits))) if tables else ():
        for place, each in tables.items():
            decided: dict[str, NDArray[np.intp]] = {}
            for number, (pool, table) in enumerate(zip(fits[place].pools, each, strict=True)):
                key, here_n = json.dumps(pool.to_json()), fold_n[batch.rows] != number - 1
                if key not in decided:
                    decided[key] = pool.decide_pixels(pool(batch.probs_mnchw))
                if here_n.any():
                    table.add(batch.labels_nhw[here_n], decided[key][here_n], batch.inside)
        progress("measuring small objects", batch.rows.stop, len(aligned.ids))
    found = list(fits)
    for place, each in tables.items():
        pool, *folds = (one.keeping(table.best()) for one, table in zip(fits[place].pools, each, strict=True))
        found[place] = replace(fits[place], pool=pool, fold_pools=tuple(folds))
    return found


def _score(
    aligned: Aligned, fits: Sequence[_Fit], fold_n: NDArray[np.int64], shapes: bool, progress: Progress
) -> list[CrossFit]:
    """Score everything in one pass over the stores."""
    classes, total = len(aligned.classes), len(aligned.ids)
    uniform = Pool.uniform(len(aligned.names), classes)
    average = replace(fits[0], pool=uniform, fold_pools=(uniform,) * len(fits[0].fold_pools), was_fitted=False)
    distinct = {fit.key: fit for fit in (*fits, average)}  # equal pools are scored once
    crossfits = {key: Tally(classes, shapes=shapes) for key in distinct}
    in_samples = {key: Tally(classes, shapes=False) if fit.differs else crossfits[key] for key, fit in distinct.items()}
    members_mnkk = np.zeros((aligned.members, total, classes, classes), np.int64)
    for batch in aligned.batches(halo=_reach(fits)):
        rows, probs_mnchw = batch.rows, batch.probs_mnchw
        in_threads(
            partial(_add_fit, batch, fold_n[rows]),
            [(fit, crossfits[key], in_samples[key]) for key, fit in distinct.items()],
            threads.CORES,
        )
        for confusions_nkk, probs_nchw in zip(members_mnkk, batch.cut(probs_mnchw), strict=True):
            confusions_nkk[rows] += confusion_per_image(batch.labels_nhw, first_class(probs_nchw), classes)
        progress("scoring", rows.stop, total)
    best_n = best_elsewhere(members_mnkk, fold_n, lambda confusions: mean_iou(confusions.sum(1)))
    return [
        CrossFit(
            *(fit.pool, fit.fold_pools, fold_n, crossfits[fit.key], in_samples[fit.key]),
            *(crossfits[average.key], members_mnkk, best_n),
            **fit.facts,
        )
        for fit in fits
    ]


def _add_fit(batch: PredictedBatch, fold_n: NDArray[np.int64], each: tuple[_Fit, Tally, Tally]) -> None:
    """Add what the pools of a fit make of a batch to its cross-fitted and its in-sample scores."""
    fit, crossfit, in_sample = each
    _add(crossfit, batch, *apply_by_fold(fit.fold_pools, fold_n, batch.probs_mnchw))
    if in_sample is not crossfit:
        pooled = fit.pool(batch.probs_mnchw)
        _add(in_sample, batch, pooled, fit.pool.decide(pooled))


def _add(tally: Tally, batch: PredictedBatch, pooled: NDArray[np.float32], decided: NDArray[np.intp]) -> None:
    tally.add(batch.cut(pooled), batch.labels_nhw, batch.cut(decided), strip=batch.strip)
