"""Cross-fitting: whatever is fitted is scored on images it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.data.splits import group_folds, rarest_class
from ensemble.evaluation.confusion import confusion_per_image, mean_iou
from ensemble.evaluation.scores import Tally
from ensemble.pool.evidence import Aligned, Evidence, gather_evidence
from ensemble.pool.pool import Pool
from ensemble.pool.registry import COMBINERS
from ensemble.progress import Tick, silent


@dataclass(frozen=True)
class CrossFit:
    """A method fitted on all images, and scored fold by fold on images it was not fitted on.

    Attributes:
        pool: fitted on every image; this is what predicts new images.
        fold_pools: fitted without the images of each fold.
        fold_n: fold of each image.
        crossfit: scores of the fold pools, each on its own fold.
        in_sample: scores of ``pool`` on the images it was fitted on: too good where anything was fitted.
        average: scores of the uniform average.
        members_mnkk: confusion matrices of every member.
        best_n: the member that is best on the other folds, for each image.
    """

    pool: Pool
    fold_pools: tuple[Pool, ...]
    fold_n: NDArray[np.int64]
    crossfit: Tally
    in_sample: Tally
    average: Tally
    members_mnkk: NDArray[np.int64]
    best_n: NDArray[np.int64]

    @property
    def was_fitted(self) -> bool:
        """Whether the parameters depend on the images: those of ``average`` and ``weighted`` do not."""
        return any(not np.array_equal(pool.weights_mc, self.pool.weights_mc) for pool in self.fold_pools)

    @property
    def best_member_nkk(self) -> NDArray[np.int64]:
        """Confusions of "take the best member", where best is judged on the other folds."""
        return self.members_mnkk[self.best_n, np.arange(len(self.best_n))]


def cross_fit(
    aligned: Aligned, method: str, options: Mapping[str, Any], *, folds: int = 5, seed: int = 0, tick: Tick = silent
) -> CrossFit:
    """Fit ``method`` on K-1 folds of image groups and score it on the last, for each fold; then fit it on all.

    Raises:
        EnsError: fewer groups than folds, or options the method refuses.
    """
    evidence = gather_evidence(aligned, tick)
    counts_nk = np.zeros((len(aligned.ids), evidence.classes), np.int64)
    np.add.at(counts_nk, (evidence.image_p, evidence.labels_p), 1)
    fold_n = group_folds(aligned.groups, rarest_class(counts_nk), folds, seed, counts_nk)

    def fit(part: Evidence) -> Pool:
        return COMBINERS.create(method, part, **options)

    pool = fit(evidence)
    fold_pools: list[Pool] = []
    for fold in range(folds):
        part = evidence.of_images(fold_n != fold)
        # Nothing labelled elsewhere: the average, for a pool fitted on this very fold would not be cross-fitted.
        fold_pools.append(fit(part) if len(part.image_p) else Pool.uniform(evidence.members, evidence.classes))
        tick(f"fitting {method}", fold + 1, folds)
    return _score(aligned, pool, tuple(fold_pools), fold_n, tick)


def _score(
    aligned: Aligned, pool: Pool, fold_pools: tuple[Pool, ...], fold_n: NDArray[np.int64], tick: Tick
) -> CrossFit:
    """One pass over the stores that scores everything."""
    classes, total = len(aligned.classes), len(aligned.ids)
    crossfit, in_sample, average = Tally(classes), Tally(classes), Tally(classes)
    uniform = Pool.uniform(len(aligned.names), classes)
    members: list[NDArray[np.int64]] = []
    for rows, probs_mnchw, labels_nhw in aligned.batches():
        out_of_fold, decided = apply_by_fold(fold_pools, fold_n[rows], probs_mnchw)
        crossfit.add(out_of_fold, labels_nhw, decided)
        pooled = pool(probs_mnchw)
        in_sample.add(pooled, labels_nhw, pool.decide(pooled))
        average.add(uniform(probs_mnchw), labels_nhw)
        members.append(np.stack([confusion_per_image(labels_nhw, probs.argmax(1), classes) for probs in probs_mnchw]))
        tick("scoring", rows.stop, total)
    members_mnkk = np.concatenate(members, axis=1)
    best_n = best_elsewhere(members_mnkk, fold_n, lambda confusions: mean_iou(confusions.sum(1)))
    return CrossFit(pool, fold_pools, fold_n, crossfit, in_sample, average, members_mnkk, best_n)


def apply_by_fold(
    pools: Sequence[Pool], fold_n: NDArray[np.int64], probs_mnchw: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Pooled probabilities and decisions of a batch, each image by the pool of its own fold."""
    _, count, classes, height, width = probs_mnchw.shape
    probs = np.empty((count, classes, height, width), np.float32)
    decided = np.empty((count, height, width), np.intp)
    for fold in np.unique(fold_n):
        chosen = fold_n == fold
        probs[chosen] = pools[fold](probs_mnchw[:, chosen])
        decided[chosen] = pools[fold].decide(probs[chosen])
    return probs, decided


def best_elsewhere(
    members_mnkk: NDArray[np.int64],
    fold_n: NDArray[np.int64],
    score: Callable[[NDArray[np.int64]], NDArray[np.float64]],
) -> NDArray[np.int64]:
    """For each image the member with the best score on the images of the other folds."""
    best_n = np.zeros(len(fold_n), np.int64)
    for fold in np.unique(fold_n):
        elsewhere = fold_n != fold
        # No score where nothing is labelled elsewhere: then the first member, chosen without looking.
        best_n[~elsewhere] = int(np.nan_to_num(score(members_mnkk[:, elsewhere]), nan=-1.0).argmax())
    return best_n
