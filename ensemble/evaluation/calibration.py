"""Measure probabilities: log-loss, Brier score and calibration error, as sums that add up over batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import Floats, divide_or_nan
from ensemble.evaluation.image import SMALLEST_PROBABILITY, Labels, Probabilities, scored_images

BINS = 15
"""Bins of the reliability tables."""


def _edges(bins: int) -> NDArray[np.float32]:
    """Return the inner edges of bins of equal width; float32 like torchmetrics, so that 0.2 falls on the same side."""
    if bins < 1:
        raise EnsError(f"expected at least one bin, got {bins}")
    return np.linspace(0, 1, bins + 1, dtype=np.float32)[1:-1]


@dataclass(frozen=True, eq=False)
class ProbabilityTables:
    """Result of `probability_tables`: sums per image, and the most probable class of every pixel (n, h, w).

    The Brier sums of the classes add up to ``brier_n``. The reliability tables of the most probable classes add up to
    ``reliability_n3b``: each labelled pixel is in the table of the class that it is taken for.
    """

    log_loss_n: Floats
    brier_n: Floats
    brier_nk: Floats
    reliability_n3b: Floats
    reliability_nk3b: Floats
    top_nhw: NDArray[np.uint8]


def probability_tables(probs_nchw: Probabilities, labels_nhw: Labels, bins: int = BINS) -> ProbabilityTables:
    """Compute `log_loss_sums`, `brier_sums` and `reliability` of each image, and the argmax, in one pass.

    Args:
        probs_nchw: probabilities that sum to 1 over the class axis.
        labels_nhw: class numbers, 255 where void.
        bins: number of bins of the reliability tables.

    Raises:
        EnsError: fewer than one bin, shapes do not fit, values are not probabilities, or labels are out of range.

    >>> tables = probability_tables(np.array([0.75, 0.25]).reshape(1, 2, 1, 1), np.array([[[1]]]))
    >>> tables.brier_n.tolist(), tables.top_nhw.tolist()
    ([1.125], [[[0]]])
    """
    edges, (count, classes) = _edges(bins), probs_nchw.shape[:2]
    log_loss_n, brier_n, reliability_n3b = np.empty(count), np.empty(count), np.empty((count, 3, bins))
    brier_nk, reliability_nk3b = np.empty((count, classes)), np.empty((count, classes, 3, bins))
    top_nhw = np.empty(labels_nhw.shape, np.uint8)
    for row, image in enumerate(scored_images(probs_nchw, labels_nhw)):
        top = image.top()
        log_loss_n[row] = image.log_loss()
        brier_n[row], brier_nk[row] = image.brier()
        reliability_n3b[row], reliability_nk3b[row] = image.reliability(top, edges)
        top_nhw[row] = top[1].reshape(top_nhw.shape[1:])
    return ProbabilityTables(log_loss_n, brier_n, brier_nk, reliability_n3b, reliability_nk3b, top_nhw)


def log_loss_sums(probs_nchw: Probabilities, labels_nhw: Labels) -> Floats:
    """Return the sum over the labelled pixels of each image of ``-log max(p(true class), 1e-7)``, in nats.

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
    return np.array([image.log_loss() for image in scored_images(probs_nchw, labels_nhw)])


def brier_sums(probs_nchw: Probabilities, labels_nhw: Labels) -> Floats:
    """Return the sum over the labelled pixels of each image of the squared error, 0 to 2 per pixel.

    The squared error of a pixel is ``sum_c (p_c - [c = true])^2``.

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
    return np.array([image.brier()[0] for image in scored_images(probs_nchw, labels_nhw)])


def reliability(probs_nchw: Probabilities, labels_nhw: Labels, bins: int = BINS) -> Floats:
    """Count the labelled pixels by the confidence of their top class, in bins of equal width.

    Bin b holds confidences in ``[b / bins, (b + 1) / bins)``, the last one 1 as well. (torchmetrics gives a confidence
    of exactly 1 a separate bin; the two agree if no confidence is exactly 1.) Tables of batches add up.

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
    edges = _edges(bins)
    tables = (image.reliability(image.top(), edges)[0] for image in scored_images(probs_nchw, labels_nhw))
    return sum(tables, np.zeros((3, bins)))


def expected_calibration_error(reliability_3b: Floats) -> float:
    """Return the expected calibration error (L1) of the top class, ``sum_b n_b / n |accuracy_b - confidence_b|``.

    Args:
        reliability_3b: (3, bins) from `reliability`, possibly summed over batches.

    Returns:
        A number in [0, 1]; NaN if no pixel is labelled.

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
"""Temperatures stay between 1/20 and 20; outside, probabilities are one-hot or uniform to three digits."""


def fit_temperature(probs_cp: NDArray[np.float32], labels_p: Labels, *, hottest: float = HOTTEST) -> float:
    """Fit the temperature T that minimises the mean log-loss of ``softmax(log(p) / T)``, between 1/hottest and hottest.

    The loss is convex in ``a = 1/T``. With ``l = log p``, its slope is the mean of ``E_q[l] - l_y``, and its curvature
    is the mean variance of ``l`` under ``q``. Newton steps stay inside a shrinking bracket, so they cannot diverge. A
    system that is never wrong gets the coldest temperature, one that is worse than chance the hottest.

    Args:
        probs_cp: probabilities (classes, pixels).
        labels_p: class of each pixel, without void.
        hottest: bound of the temperature and of its inverse, above 1.

    Returns:
        The temperature; 1 if nothing depends on it (no pixel, or uniform probabilities).

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
    """Return the first and second derivative of the mean log-loss by 1/T."""
    exp_cp = np.exp(logs_cp * np.float32(inverse))
    exp_cp /= exp_cp.sum(axis=0)
    weighted_cp = exp_cp * logs_cp
    mean_p = weighted_cp.sum(axis=0)
    weighted_cp *= logs_cp
    second = float(weighted_cp.sum(axis=0).mean(dtype=np.float64))
    return float(mean_p.mean(dtype=np.float64)) - true, second - float(np.square(mean_p).mean(dtype=np.float64))
