"""Arithmetic on arrays of probabilities, shared by all combiners."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.image import highest

TINY = np.float32(1e-12)
FLOOR = 1e-7  # smallest probability in a log-loss, as in evaluation; stored probabilities are larger


def normalised(values_nc: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide values by their sum over the classes (axis 1)."""
    return values_nc / np.maximum(values_nc.sum(1, keepdims=True), TINY)


def tempered(probs_nc: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Raise probabilities (n, c, ...) to the power 1/T and normalise them: the softmax of logits / T."""
    if temperature == 1.0:
        return probs_nc
    return normalised((probs_nc / probs_nc.max(1, keepdims=True)) ** np.float32(1 / temperature))


def softmax(scores_nc: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the classes (axis 1)."""
    exp_nc = np.exp(scores_nc - scores_nc.max(1, keepdims=True))
    exp_nc /= exp_nc.sum(1, keepdims=True)
    return exp_nc


def first_class(values_nc: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Return the argmax over the classes (axis 1), the first of equals."""
    return highest(values_nc.swapaxes(0, 1))[1].astype(np.intp)
