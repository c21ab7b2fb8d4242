"""Apply to each image the pool that was fitted without it, and choose members without looking at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.combiner import Combiner
from ensemble.evaluation.confusion import mean_iou


def apply_by_fold(
    pools: Sequence[Combiner], fold_n: NDArray[np.int64], probs_mnchw: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return the pooled probabilities and decisions of a batch; each image is pooled by the pool of its fold."""
    probs = pool_by_fold(pools, fold_n, probs_mnchw)
    decided = np.empty((len(probs), *probs.shape[2:]), np.intp)
    for fold in np.unique(fold_n):
        here_n = fold_n == fold
        decided[here_n] = pools[fold].decide(probs[here_n])
    return probs, decided


def pool_by_fold(
    pools: Sequence[Combiner], fold_n: NDArray[np.int64], probs_mnchw: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the pooled probabilities of a batch; each image is pooled by the pool of its fold."""
    probs = np.empty(probs_mnchw.shape[1:], np.float32)
    for fold in np.unique(fold_n):
        here_n = fold_n == fold
        probs[here_n] = pools[fold](probs_mnchw[:, here_n])
    return probs


def best_member_elsewhere(members_mnkk: NDArray[np.int64], fold_n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the confusion matrices (n, k, k) of the system that takes the member with the best mIoU elsewhere.

    Args:
        members_mnkk: confusion matrix of each member on each image.
        fold_n: fold of each image; its member is the best on the images of the other folds.
    """
    best_n = best_elsewhere(members_mnkk, fold_n, lambda confusions: mean_iou(confusions.sum(1)))
    return members_mnkk[best_n, np.arange(len(best_n))]


def best_elsewhere(
    members_mnkk: NDArray[Any],
    fold_n: NDArray[np.int64],
    score: Callable[[NDArray[Any]], NDArray[np.float64]],
) -> NDArray[np.int64]:
    """Return for each image the member with the best score on the images of the other folds.

    Args:
        members_mnkk: what each member got on each image, such as its confusion matrix.
        fold_n: fold of each image.
        score: returns the score (m,) of members on some images, higher for better ones.
    """
    best_n = np.zeros(len(fold_n), np.int64)
    for fold in np.unique(fold_n):
        elsewhere = fold_n != fold
        # Without labelled pixels in the other folds there is no score, and the first member is taken.
        best_n[~elsewhere] = int(np.nan_to_num(score(members_mnkk[:, elsewhere]), nan=-1.0).argmax())
    return best_n
