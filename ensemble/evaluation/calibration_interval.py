"""Compute the interval of a calibration error, corrected for the bias that absolute values cause."""

from __future__ import annotations

import numpy as np

from ensemble.evaluation.confusion import Floats, divide_or_nan, mean_present
from ensemble.evaluation.intervals import Interval, interval


def calibration_error(gap_b: Floats, pixels: Floats) -> Floats:
    """Return the expected calibration error from sums, ``sum_b |gap_b| / pixels``, as `expected_calibration_error`.

    Args:
        gap_b: (..., bins) sum of the confidences minus the number of right pixels, in each bin.
        pixels: (...) labelled pixels.

    Returns:
        (...) in [0, 1]; NaN if no pixel is labelled.

    >>> float(calibration_error(np.array([0.5, -0.5]), np.array(4.0)))
    0.25
    """
    return divide_or_nan(np.abs(gap_b).sum(-1), pixels)


def calibration_error_interval(
    gap_rb: Floats, pixels_r: Floats, gap_b: Floats, pixels: float, left_out_g: Floats, level: float = 0.95
) -> Interval:
    """Return the interval of an expected calibration error from its resamples, corrected for their bias.

    The error adds up absolute gaps between confidence and accuracy, so chance only increases it. Even a perfectly
    calibrated system has an error above 0 on a finite set of images. Its resamples have a larger error still, so their
    percentile interval almost never holds the truth. Let b be the mean of the resamples minus the estimate. The lower
    limit is ``low - 2 b``, for the bias of the resamples and for that of the estimate; the upper limit is ``high - b``.
    If gaps are shifted to 0 on average, chance alone gives a certain mean error; a lower limit below that becomes 0.

    This was measured on 400 simulated data sets each of 15, 40 and 200 groups, from well to badly calibrated. The
    interval holds the truth in 94 to 100 % of them, the percentile interval in 0 to 96 %.

    Args:
        gap_rb: (resamples, bins) sum of the confidences minus the number of right pixels.
        pixels_r: labelled pixels of each resample.
        gap_b: the gaps of the images themselves.
        pixels: their labelled pixels.
        left_out_g: the error with each group left out; see `interval`.
        level: probability between 0 and 1.

    Returns:
        The limits, which hold the estimate; both are NaN if no pixel is labelled.

    Reference:
        Roelofs et al., Mitigating Bias in Calibration Error Estimation, 2022 (the bias).

    >>> from ensemble.evaluation import Bootstrap
    >>> gap_n, pixels_n = np.random.default_rng(0).normal(0, 3, (40, 1)), np.full(40, 100.0)
    >>> drawn = Bootstrap.draw([f"scene-{row}" for row in range(40)], resamples=1000)
    >>> left_out_g = calibration_error(drawn.leave_one_out.totals(gap_n), drawn.leave_one_out.totals(pixels_n))
    >>> resampled = drawn.totals(gap_n), drawn.totals(pixels_n)
    >>> calibration_error_interval(*resampled, gap_n.sum(0), 4000.0, left_out_g).low  # no error is seen
    0.0
    """
    if not pixels > 0:
        return Interval(np.nan, np.nan)
    samples_r = calibration_error(gap_rb, pixels_r)
    bias = float(mean_present(samples_r)) - float(calibration_error(gap_b, np.asarray(pixels)))
    chance = float(mean_present(calibration_error(gap_rb - pixels_r[:, None] * (gap_b / pixels), pixels_r)))
    plain = interval(samples_r, level, left_out_g=left_out_g)
    low = plain.low - 2 * bias
    return Interval(0.0 if low < chance else low, plain.high - bias)
