"""Find the rarest class: the one with the fewest labelled pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rarest_class_overall(counts_nk: NDArray[np.int64]) -> int:
    """Return the class with the fewest labelled pixels among those that have any, or 0 if no class has any.

    Args:
        counts_nk: labelled pixels per image and class.
    """
    order, totals_k = _from_rare_to_common(counts_nk), counts_nk.sum(0)
    return int(order[(totals_k[order] > 0).argmax()]) if totals_k.any() else 0


def rarest_class_per_image(counts_nk: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rarest class that each image holds, or K if every pixel of the image is void.

    Which class is rarer depends on the pixels of all images together.

    Args:
        counts_nk: labelled pixels per image and class, (n, K).
    """
    order = _from_rare_to_common(counts_nk)
    present = counts_nk[:, order] > 0
    return np.where(present.any(1), np.take(order, present.argmax(1)), counts_nk.shape[1])


def _from_rare_to_common(counts_nk: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.argsort(counts_nk.sum(0), kind="stable")
