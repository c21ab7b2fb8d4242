"""Which images to show: those that hold the rarest class, those in dispute, the worst and typical ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ENOUGH = 4  # images with many labels of several classes, for the choice to be among these


def rank_images(
    confusions_nkk: NDArray[np.int64], accuracy_mn: NDArray[np.floating[Any]]
) -> dict[str, NDArray[np.intp]]:
    """Images by reason to show them, the first ones first.

    ``rare class``: most pixels of the class with the fewest; ``most disputed``: the members' accuracies are furthest
    apart; ``typical`` and ``worst``: near the median of the system's pixel accuracy, and lowest. All but the first are
    images with many labels (the median or more) of more than one class, where there are enough.

    Args:
        confusions_nkk: confusion matrix of the shown system for every image.
        accuracy_mn: pixel accuracy of every member (members, images); the value does not matter without labels.

    >>> confusions = np.array([[[4, 0], [0, 4]], [[2, 2], [2, 2]], [[3, 1], [0, 4]], [[7, 1], [0, 0]]])
    >>> ranked = rank_images(confusions, np.array([[1, 0.5, 0.5, 1], [1, 0.5, 1, 1]]))
    >>> {why: rows[:1].tolist() for why, rows in ranked.items()}
    {'rare class': [0], 'most disputed': [2], 'typical': [2], 'worst': [1]}
    """
    labelled_n, classes_nk = confusions_nkk.sum((1, 2)), confusions_nkk.sum(2)
    accuracy_n = np.trace(confusions_nkk, axis1=1, axis2=2) / np.maximum(1, labelled_n)
    full_n = (labelled_n >= np.median(labelled_n)) & (labelled_n > 0)
    mixed_n = full_n & ((classes_nk > 0).sum(1) > 1)
    full_n = mixed_n if mixed_n.sum() >= ENOUGH else full_n
    totals_k = classes_nk.sum(0)
    rare_n = classes_nk[:, int(np.argmin(np.where(totals_k > 0, totals_k, np.inf)))]
    apart_n = accuracy_mn.std(0)
    middle = np.median(accuracy_n[full_n]) if full_n.any() else 0.0
    keys = {
        "rare class": np.where(rare_n > 0, rare_n, -np.inf),
        "most disputed": np.where(full_n & (apart_n > 0), apart_n, -np.inf),
        "typical": np.where(full_n, -np.abs(accuracy_n - middle), -np.inf),
        "worst": np.where(full_n, -accuracy_n, -np.inf),
    }
    return {why: np.argsort(-key, kind="stable")[: int(np.isfinite(key).sum())] for why, key in keys.items()}
