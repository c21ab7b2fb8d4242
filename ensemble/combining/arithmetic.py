"""Arithmetic of probability arrays that all ways of combining share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TINY = np.float32(1e-12)
FLOOR = 1e-7  # log-losses are clipped here, as in evaluation; a stored probability is never below it anyway


def normalised(values_nc: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divided by the sum over the classes (axis 1)."""
    return values_nc / np.maximum(values_nc.sum(1, keepdims=True), TINY)


def tempered(probs_nc: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities (n, c, ...) raised to the power 1/T and normalised: those of the softmax of logits / T."""
    if temperature == 1.0:
        return probs_nc
    return normalised((probs_nc / probs_nc.max(1, keepdims=True)) ** np.float32(1 / temperature))


def first_class(values_nc: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """The argmax over the classes (axis 1), the first of equals: how many classes in a row are below the largest."""
    top = values_nc.max(1)
    below, first = np.ones(top.shape, bool), np.zeros(top.shape, np.uint8)
    for c in range(values_nc.shape[1] - 1):
        below &= values_nc[:, c] < top
        first += below
    return first.astype(np.intp)
