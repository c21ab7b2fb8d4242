"""Are the probabilities right: log-loss, Brier score and calibration error, as sums that add up over batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.errors import EnsError
from ensemble.evaluation.confusion import divide_or_nan
from ensemble.evaluation.void import labelled

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

SMALLEST_PROBABILITY = 1e-7
"""Lower clip of the log-loss: a true class given probability 0 costs 16.1 nats instead of infinity."""


def _labelled(probs_nchw: Probabilities, labels_nhw: Labels) -> NDArray[np.bool_]:
    """Check that both arrays fit each other and that these are probabilities; return the mask of labelled pixels."""
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
    return labelled(labels_nhw, classes)


def log_loss_sums(probs_nchw: Probabilities, labels_nhw: Labels) -> NDArray[np.float64]:
    """Sum over the labelled pixels of each image of ``-log max(p(true class), 1e-7)``, in nats.

    Args:
        probs_nchw: probabilities that sum to 1 over the class axis.
        labels_nhw: class numbers, 255 where void.

    Returns:
        (n,) float64; divide by the number of labelled pixels for the mean.

    Raises:
        EnsError: shapes do not fit, values are not probabilities, or labels are out of range.

    Reference:
        Good, Rational Decisions, 1952.

    >>> probs = np.array([0.5, 0.5, 1.0, 0.0]).reshape(2, 2, 1, 1)
    >>> log_loss_sums(probs, np.array([[[0]], [[255]]])).round(4).tolist()
    [0.6931, 0.0]
    """
    mask_nhw = _labelled(probs_nchw, labels_nhw)
    index_n1hw = np.where(mask_nhw, labels_nhw, 0).astype(np.intp)[:, None]
    true_nhw = np.take_along_axis(probs_nchw, index_n1hw, axis=1)[:, 0].astype(np.float64)
    loss_nhw = -np.log(np.maximum(true_nhw, SMALLEST_PROBABILITY))
    return np.where(mask_nhw, loss_nhw, 0.0).sum(axis=(1, 2))


def brier_sums(probs_nchw: Probabilities, labels_nhw: Labels) -> NDArray[np.float64]:
    """Sum over the labelled pixels of each image of the squared error ``sum_c (p_c - [c = true])^2``, 0 to 2 a pixel.

    Args:
        probs_nchw: probabilities that sum to 1 over the class axis.
        labels_nhw: class numbers, 255 where void.

    Returns:
        (n,) float64; divide by the number of labelled pixels for the mean.

    Raises:
        EnsError: shapes do not fit, values are not probabilities, or labels are out of range.

    Reference:
        Brier, Verification of Forecasts Expressed in Terms of Probability, 1950, equation 2.

    >>> brier_sums(np.array([0.75, 0.25]).reshape(1, 2, 1, 1), np.array([[[0]]])).tolist()
    [0.125]
    """
    mask_nhw = _labelled(probs_nchw, labels_nhw)
    error_nhw = np.zeros(labels_nhw.shape)
    for index in range(probs_nchw.shape[1]):  # class by class: no one-hot array of the whole batch
        error_nhw += np.square(probs_nchw[:, index] - (labels_nhw == index), dtype=np.float64)
    return np.where(mask_nhw, error_nhw, 0.0).sum(axis=(1, 2))


def reliability(probs_nchw: Probabilities, labels_nhw: Labels, bins: int = 15) -> NDArray[np.float64]:
    """Count the labelled pixels by the confidence of their top class, in bins of equal width.

    Bin b holds confidences in ``[b / bins, (b + 1) / bins)``, the last one 1 as well. (torchmetrics gives a confidence
    of exactly 1 a bin of its own; the two agree where there is none.) Tables of batches add up.

    Args:
        probs_nchw: probabilities that sum to 1 over the class axis.
        labels_nhw: class numbers, 255 where void.
        bins: number of bins.

    Returns:
        (3, bins) float64: pixels, sum of their confidences, number of them that are right.

    Raises:
        EnsError: fewer than one bin, shapes do not fit, values are not probabilities, or labels are out of range.

    Reference:
        Guo et al., On Calibration of Modern Neural Networks, 2017, section 2.

    >>> reliability(np.array([0.75, 0.25]).reshape(1, 2, 1, 1), np.array([[[1]]]), bins=2).tolist()
    [[0.0, 1.0], [0.0, 0.75], [0.0, 0.0]]
    """
    if bins < 1:
        raise EnsError(f"expected at least one bin, got {bins}")
    mask_nhw = _labelled(probs_nchw, labels_nhw)
    confidence = probs_nchw.max(axis=1)[mask_nhw].astype(np.float32)
    right = (probs_nchw.argmax(axis=1) == labels_nhw)[mask_nhw]
    edges = np.linspace(0, 1, bins + 1, dtype=np.float32)  # float32 like torchmetrics: 0.2 falls on the same side
    index = np.searchsorted(edges[1:-1], confidence, side="right")
    tables = (np.bincount(index, weights, minlength=bins) for weights in (None, confidence, right))
    return np.stack([table.astype(np.float64) for table in tables])


def expected_calibration_error(reliability_3b: NDArray[np.float64]) -> float:
    """Expected calibration error (L1) of the top class, ``sum_b n_b / n |accuracy_b - confidence_b|``.

    Args:
        reliability_3b: (3, bins) from `reliability`, possibly summed over batches.

    Returns:
        A number in [0, 1]; NaN where no pixel is labelled.

    Raises:
        EnsError: the table does not have three rows.

    Reference:
        Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015; Guo et al., 2017, eq. 3.

    >>> expected_calibration_error(np.array([[0.0, 4.0], [0.0, 3.0], [0.0, 2.0]]))
    0.25
    """
    if reliability_3b.ndim != 2 or len(reliability_3b) != 3:
        raise EnsError(f"expected a table (3, bins) from reliability(), got shape {reliability_3b.shape}")
    count, confidence, right = reliability_3b
    return float(divide_or_nan(np.abs(confidence - right).sum(), count.sum()))


HOTTEST = 20.0
"""Temperatures stay between 1/20 and 20: beyond, probabilities are one-hot or uniform to three digits."""


def fit_temperature(probs_cp: NDArray[np.float32], labels_p: Labels, *, hottest: float = HOTTEST) -> float:
    """Temperature T that minimises the mean log-loss of ``softmax(log(p) / T)``, between 1/hottest and hottest.

    The loss is convex in ``a = 1/T``: its slope is the mean of ``E_q[l] - l_y`` and its curvature that of the variance
    of ``l = log p`` under ``q``. Newton steps inside a shrinking bracket, so that nothing diverges: one that is never
    wrong is sharpened towards the one bound, one that is worse than chance gets the other.

    Args:
        probs_cp: probabilities (classes, pixels).
        labels_p: class of each pixel, none void.
        hottest: bound of the temperature and of its inverse, above 1.

    Returns:
        The temperature; 1 where nothing depends on it (no pixel, or uniform probabilities).

    Raises:
        EnsError: the shapes do not fit.

    Reference:
        Guo et al., On Calibration of Modern Neural Networks, 2017, section 4.2.

    >>> over_confident = np.array([[0.99, 0.99, 0.99, 0.99], [0.01, 0.01, 0.01, 0.01]], np.float32)
    >>> round(fit_temperature(over_confident, np.array([0, 0, 0, 1])), 2)
    4.18
    """
    if probs_cp.ndim != 2 or labels_p.shape != probs_cp.shape[1:]:
        raise EnsError(
            f"expected probabilities (classes, pixels) and a label per pixel, got {probs_cp.shape} and {labels_p.shape}"
        )
    if not labels_p.size:
        return 1.0
    logs_cp = np.log(np.maximum(probs_cp, np.float32(SMALLEST_PROBABILITY)))
    logs_cp -= logs_cp.max(axis=0)
    true = float(logs_cp[labels_p, np.arange(len(labels_p))].mean(dtype=np.float64))
    low, high, inverse = 1 / hottest, hottest, 1.0
    for _ in range(60):
        slope, curvature = _slope(logs_cp, true, inverse)
        if slope == 0:
            break
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else np.inf
        if not low < step < high:  # outside the bracket, or a flat loss: halve it on the scale of logarithms
            end = low if slope > 0 else high
            step = end if min(abs(end / inverse - 1), abs(inverse / end - 1)) < 1e-6 else float(np.sqrt(inverse * end))
        if abs(step - inverse) < 1e-7 * inverse:
            inverse = step
            break
        inverse = step
    return 1 / inverse


def _slope(logs_cp: NDArray[np.float32], true: float, inverse: float) -> tuple[float, float]:
    """First and second derivative of the mean log-loss by 1/T."""
    exp_cp = np.exp(logs_cp * np.float32(inverse))
    exp_cp /= exp_cp.sum(axis=0)
    weighted_cp = exp_cp * logs_cp
    mean_p = weighted_cp.sum(axis=0)
    weighted_cp *= logs_cp
    second = float(weighted_cp.sum(axis=0).mean(dtype=np.float64))
    return float(mean_p.mean(dtype=np.float64)) - true, second - float(np.square(mean_p).mean(dtype=np.float64))
