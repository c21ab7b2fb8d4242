"""Cross-fitting: score everything that is fitted on images that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.arithmetic import first_class
from ensemble.combining.by_fold import apply_by_fold, best_member_elsewhere
from ensemble.combining.combiner import Combiner
from ensemble.combining.copies import near_copies
from ensemble.combining.fit_data import gather_fit_data
from ensemble.combining.fold_fits import FoldFits, fit_folds
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.pool import Pool
from ensemble.combining.quality import QualitySums
from ensemble.combining.stopping import StoppedEarly
from ensemble.combining.whole_image_fits import fit_on_whole_images
from ensemble.core import threads
from ensemble.core.progress import Progress, no_progress
from ensemble.core.threads import in_threads, one_blas_thread
from ensemble.data.rarest import rarest_class_per_image
from ensemble.data.split import group_folds
from ensemble.evaluation.confusion import confusion_per_image
from ensemble.evaluation.strips import PredictedBatch
from ensemble.evaluation.tally import Tally


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
        was_fitted: whether the parameters depend on the images, unlike those of ``average`` and ``weighted``.
        seconds: duration of all the fits.
        copies: a sentence for each member that is nearly the same as another one.
        stopped: what a cascade saves and loses; None if there is none.
        quality: what the estimate of the quality of images is fitted to; None unless it was asked for.
    """

    pool: Combiner
    fold_pools: tuple[Combiner, ...]
    fold_n: NDArray[np.int64]
    crossfit: Tally
    in_sample: Tally
    average: Tally
    members_mnkk: NDArray[np.int64]
    was_fitted: bool = True
    seconds: float = 0.0
    copies: tuple[str, ...] = ()
    stopped: StoppedEarly | None = None
    quality: QualitySums | None = None

    @property
    def best_member_nkk(self) -> NDArray[np.int64]:
        """Confusions of the system that takes, for each fold, the member that is best on the other folds."""
        return best_member_elsewhere(self.members_mnkk, self.fold_n)


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
    quality: bool = False,
    progress: Progress = no_progress,
) -> list[CrossFit]:
    """Cross-fit several pipelines on the same folds; the stores are read twice for all pipelines together.

    Args:
        aligned, pipelines, folds, seed, progress: as for `cross_fit`.
        failed: receives the reason, by place, of each pipeline whose fit fails; the result then lacks it. Without it
            such a failure is raised.
        shapes: count objects and pixels near boundaries, too; see `Tally`.
        quality: sum up what the estimate of quality needs, for the first pipeline; see `CrossFit.quality`.

    Raises:
        EnsError: fewer groups than folds, or options that a method refuses.
    """
    fit_data = gather_fit_data(aligned, progress, neighbourhood=any(pipeline.neighbourhood for pipeline in pipelines))
    counts_nk = np.zeros((len(aligned.ids), fit_data.classes), np.int64)
    np.add.at(counts_nk, (fit_data.image_p, fit_data.labels_p), 1)
    fold_n = group_folds(aligned.groups, rarest_class_per_image(counts_nk), folds, seed, counts_nk)
    with one_blas_thread():
        fits = fit_folds(fit_data, pipelines, fold_n, folds, failed, progress)
        fits = fit_on_whole_images(aligned, fits, fold_n, progress)
        copies = near_copies(fit_data, aligned.names)
        return [replace(fit, copies=copies) for fit in _score(aligned, fits, fold_n, shapes, quality, progress)]


def _score(
    aligned: Aligned,
    fits: Sequence[FoldFits],
    fold_n: NDArray[np.int64],
    shapes: bool,
    quality: bool,
    progress: Progress,
) -> list[CrossFit]:
    """Score everything in one pass over the stores."""
    classes, total = len(aligned.classes), len(aligned.ids)
    uniform = Pool.uniform(len(aligned.names), classes)
    average = replace(fits[0], pool=uniform, fold_pools=(uniform,) * len(fits[0].fold_pools), was_fitted=False)
    distinct = {fit.key: fit for fit in (*fits, average)}  # equal pools are scored once
    crossfits = {key: Tally(classes, shapes=shapes) for key in distinct}
    in_samples = {key: Tally(classes, shapes=False) if fit.differs else crossfits[key] for key, fit in distinct.items()}
    sums = {fits[0].key: QualitySums.none_of(aligned)} if quality else {}
    members_mnkk = np.zeros((aligned.members, total, classes, classes), np.int64)
    for batch in aligned.batches(halo=max(fit.reach for fit in fits)):
        tasks: list[Callable[[], None]] = []
        for key, fit in distinct.items():
            tasks.append(partial(_add_crossfit, batch, fold_n, fit, crossfits[key], sums.get(key)))
            if in_samples[key] is not crossfits[key]:
                tasks.append(partial(_add_in_sample, batch, fit, in_samples[key]))
        tasks.append(partial(_add_members, batch, members_mnkk))
        in_threads(lambda task: task(), tasks, threads.CORES)
        progress("scoring", batch.rows.stop, total)
    return [
        CrossFit(
            pool=fit.pool,
            fold_pools=fit.fold_pools,
            fold_n=fold_n,
            crossfit=crossfits[fit.key],
            in_sample=in_samples[fit.key],
            average=crossfits[average.key],
            members_mnkk=members_mnkk,
            was_fitted=fit.was_fitted,
            seconds=fit.seconds,
            stopped=fit.stopped,
            quality=sums.get(fit.key),
        )
        for fit in fits
    ]


def _add_members(batch: PredictedBatch, members_mnkk: NDArray[np.int64]) -> None:
    """Add what every member alone makes of a batch to its confusion matrices."""
    classes = members_mnkk.shape[-1]
    for confusions_nkk, probs_nchw in zip(members_mnkk, batch.cut(batch.probs_mnchw), strict=True):
        confusions_nkk[batch.rows] += confusion_per_image(batch.labels_nhw, first_class(probs_nchw), classes)


def _add_crossfit(
    batch: PredictedBatch, fold_n: NDArray[np.int64], fit: FoldFits, tally: Tally, quality: QualitySums | None
) -> None:
    """Add what the pools of the folds make of a batch to the cross-fitted scores."""
    pooled, decided = apply_by_fold(fit.fold_pools, fold_n[batch.rows], batch.probs_mnchw)
    _add(tally, batch, pooled, decided)
    if quality is not None:
        quality.add(batch, pooled, decided, fit.pool.used)


def _add_in_sample(batch: PredictedBatch, fit: FoldFits, tally: Tally) -> None:
    """Add what the pool of all images makes of a batch to the scores on the images of its fit."""
    pooled = fit.pool(batch.probs_mnchw)
    _add(tally, batch, pooled, fit.pool.decide(pooled))


def _add(tally: Tally, batch: PredictedBatch, pooled: NDArray[np.float32], decided: NDArray[np.intp]) -> None:
    tally.add(batch.cut(pooled), batch.labels_nhw, batch.cut(decided), strip=batch.strip)
