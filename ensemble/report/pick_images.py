"""Choose images to show: some with the rarest class, disputed ones, typical ones, and the worst ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ENOUGH = 4  # images with many labels of several classes that are enough to choose from


def rank_images(
    confusions_nkk: NDArray[np.int64], accuracy_mn: NDArray[np.floating[Any]]
) -> dict[str, NDArray[np.intp]]:
    """Return the rows of images for each reason to show them, the best suited image first.

    - ``rare class``: most pixels of the rarest class;
    - ``most disputed``: the accuracies of the members differ most;
    - ``typical``: pixel accuracy of the system close to its median;
    - ``worst``: lowest pixel accuracy of the system.

    For all reasons but the first, images have many labels (the median or more) of several classes, if enough do.

    Args:
        confusions_nkk: confusion matrix of the shown system for every image.
        accuracy_mn: pixel accuracy of every member (members, images); values of images without labels are ignored.

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
    spread_n = accuracy_mn.std(0)
    middle = np.median(accuracy_n[full_n]) if full_n.any() else 0.0
    keys = {
        "rare class": np.where(rare_n > 0, rare_n, -np.inf),
        "most disputed": np.where(full_n & (spread_n > 0), spread_n, -np.inf),
        "typical": np.where(full_n, -np.abs(accuracy_n - middle), -np.inf),
        "worst": np.where(full_n, -accuracy_n, -np.inf),
    }
    return {why: np.argsort(-key, kind="stable")[: int(np.isfinite(key).sum())] for why, key in keys.items()}
