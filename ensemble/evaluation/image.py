"""Go through images one by one as rows of pixels, and compute the scores of their probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.void import labelled

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

SMALLEST_PROBABILITY = 1e-7
"""Lower clip of the log-loss: a true class given probability 0 costs 16.1 nats instead of infinity."""


def highest(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return the maximum over the first axis and its place, the first of equals.

    It counts the leading values below the maximum, which is much faster than NumPy's ``argmax`` for few classes.

    >>> highest(np.array([[0.2, 0.5], [0.8, 0.5]]))[1].tolist()
    [1, 0]
    """
    top = values.max(0)
    is_below, place = np.ones(top.shape, bool), np.zeros(top.shape, np.uint8)
    for each in values[:-1]:
        is_below &= each < top
        place += is_below
    return top, place


@dataclass(frozen=True, eq=False)
class ScoredImage:
    """Hold an image as a row of pixels: probabilities (c, p), labels, mask of labelled pixels, place of the true class.

    A single image fits into the processor's cache, and values that several scores need are computed once.
    """

    probs_cp: Probabilities
    labels_p: Labels
    mask_p: NDArray[np.bool_]
    true_p: NDArray[np.intp]

    def log_loss(self) -> np.float64:
        """Return the sum of ``-log max(p(true class), 1e-7)`` over the labelled pixels."""
        true_p = self.probs_cp.ravel()[self.true_p].astype(np.float64)
        return np.where(self.mask_p, -np.log(np.maximum(true_p, SMALLEST_PROBABILITY)), 0.0).sum()

    def brier(self) -> tuple[np.float64, Floats]:
        """Return the sum of ``sum_c (p_c - [c = true])^2`` over the labelled pixels, and that of each class c."""
        error_cp = self.probs_cp.copy()
        error_cp.reshape(-1)[self.true_p] -= 1
        squared_cp = error_cp.astype(np.float64)
        squared_cp *= squared_cp
        total = np.where(self.mask_p, squared_cp.sum(axis=0), 0.0).sum()
        return total, squared_cp @ self.mask_p.astype(np.float64)

    def top(self) -> tuple[Probabilities, NDArray[np.uint8]]:
        """Return the highest probability of each pixel and its class."""
        return highest(self.probs_cp)

    def reliability(
        self, top: tuple[Probabilities, NDArray[np.uint8]], edges: NDArray[np.float32]
    ) -> tuple[Floats, Floats]:
        """Count pixels, confidences and right pixels (3, bins) between the inner ``edges``; ``top`` from `top`.

        The second table (classes, 3, bins) counts the pixels of each most probable class apart.
        """
        confidence_p, right_p, bins = top[0].astype(np.float32), top[1] == self.labels_p, len(edges) + 1
        # Comparing with each of a few edges is three times faster than a binary search.
        small = np.min_scalar_type(2 * bins + 2)
        bin_p = (confidence_p >= edges[:, None]).view(np.uint8).sum(axis=0, dtype=small)
        bin_p[~self.mask_p] = bins  # one more bin takes the void pixels
        wrong, right = np.bincount(bin_p + right_p * small.type(bins + 1), minlength=2 * bins + 2).reshape(2, -1)
        table_3b = np.empty((3, bins + 1))
        table_3b[:] = wrong + right, np.bincount(bin_p, confidence_p, minlength=bins + 1), right
        return table_3b[:, :bins], self._reliability_by_class(top[1], bin_p, confidence_p, right_p, bins)

    def _reliability_by_class(
        self,
        top_p: NDArray[np.uint8],
        bin_p: NDArray[np.integer[Any]],
        confidence_p: NDArray[np.float32],
        right_p: NDArray[np.bool_],
        bins: int,
    ) -> Floats:
        classes = len(self.probs_cp)
        cell_p, cells = top_p.astype(np.intp) * (bins + 1) + bin_p, classes * (bins + 1)
        counts = [
            np.bincount(cell_p, weights, minlength=cells).astype(np.float64)
            for weights in (None, confidence_p, right_p)
        ]
        return np.stack(counts).reshape(3, classes, bins + 1)[..., :bins].swapaxes(0, 1)


def scored_images(probs_nchw: Probabilities, labels_nhw: Labels) -> Iterator[ScoredImage]:
    """Check that the arrays have matching shapes and hold probabilities, then yield image by image."""
    if probs_nchw.ndim != 4 or not np.issubdtype(probs_nchw.dtype, np.floating):
        raise EnsError(
            "expected float probabilities of shape (images, classes, height, width), "
            f"got {probs_nchw.dtype} of shape {probs_nchw.shape}"
        )
    images, classes, height, width = probs_nchw.shape
    if labels_nhw.shape != (images, height, width):
        raise EnsError(f"expected labels of shape {(images, height, width)}, got {labels_nhw.shape}")
    if probs_nchw.size:
        low, high = float(probs_nchw.min()), float(probs_nchw.max())
        if not (low >= 0 and high <= 1.001):  # written so that NaN fails too; 8-bit and bf16 values may pass 1 a little
            raise EnsError(
                f"expected probabilities between 0 and 1, got {low:.4g}..{high:.4g}; apply softmax to logits first"
            )
    mask_nhw, place_p = labelled(labels_nhw, classes), np.arange(height * width)
    for probs_chw, labels_hw, mask_hw in zip(probs_nchw, labels_nhw, mask_nhw, strict=True):
        true_p = np.where(mask_hw, labels_hw, 0).ravel().astype(np.intp) * len(place_p) + place_p
        yield ScoredImage(probs_chw.reshape(classes, -1), labels_hw.ravel(), mask_hw.ravel(), true_p)
