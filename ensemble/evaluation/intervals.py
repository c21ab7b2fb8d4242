"""Compute intervals from the resamples of a group bootstrap.

A few groups often carry most of a score: large ones, or those that hold a rare class. The plain percentile interval is
then too narrow, so `interval` widens it as Student's t widens the normal: by the effective number of groups, read off
the scores with each group left out. Measured false alarms at 5 %: ``experiments/benchmarks/verdict_rates.py``.

It suits differences, and ratios of sums such as the log-loss. For the IoU of one system see ``proportion_intervals``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import Floats


def effective_freedom(left_out_g: Floats) -> float:
    """Return the degrees of freedom of a spread that is measured on few or unequal groups.

    ``3 (sum_g d_g^2)^2 / sum_g d_g^4 - 2`` kept between 1 and g - 1, where d_g is the change of the score when group g
    is left out. These are Satterthwaite's ``(sum v_g)^2 / sum v_g^2`` for changes of variances v_g, with both sums
    estimated without bias for normal changes (``E d^2 = v``, ``E d^4 = 3 v^2``). About g for many groups of equal
    weight, near 1 if one of many decides.

    Args:
        left_out_g: the score with each group left out, from `Bootstrap.leave_one_out`.

    Returns:
        Degrees of freedom; also 1 if the score does not exist (NaN) without one of the groups.

    Reference:
        Johnson and Rust, Population Inferences and Variance Estimation for NAEP Data, 1992 (for the jackknife);
        von Davier, A Modified Satterthwaite Effective Degrees of Freedom Approximation, 2024 (without bias).

    >>> effective_freedom(np.array([0.1, 0.2, 0.2, 0.3, 0.2]))
    4.0
    >>> round(effective_freedom(np.eye(50)[0]), 1)  # one group of fifty decides
    1.1
    """
    if np.isnan(left_out_g).any():
        return 1.0
    squares_g = (left_out_g - left_out_g.mean()) ** 2
    if not squares_g.any():
        return float(len(left_out_g) - 1)
    squares_g /= squares_g.max()  # fourth powers of tiny changes would vanish
    freedom = 3 * squares_g.sum() ** 2 / (squares_g**2).sum() - 2
    return float(np.clip(freedom, 1, len(left_out_g) - 1))


@dataclass(frozen=True)
class Interval:
    """Limits between which a score lies with a probability of ``level``."""

    low: float
    high: float


def interval(samples_b: Floats, level: float = 0.95, *, left_out_g: Floats | None = None) -> Interval:
    """Return the percentile interval of the resamples, widened for the number of groups that decide the score.

    The limits are the quantiles ``Phi(-z)`` and ``Phi(z)`` of the resamples with ``z = sqrt(g / (g - 1)) t``, t the
    ``(1 + level) / 2`` quantile of Student's t at `effective_freedom` degrees: for a mean of g alike groups the
    classical t interval, for unlike ones a wider one.

    Args:
        samples_b: a score in each resample; NaN samples are left out.
        level: probability between 0 and 1.
        left_out_g: the same score with each group left out, from `Bootstrap.leave_one_out`. Without it the plain
            percentile interval (z the normal quantile), which suits only many similar units.

    Returns:
        The limits; both are NaN if no resample has the score.

    Raises:
        EnsError: more than one axis, or a level that is not between 0 and 1.

    Reference:
        Hesterberg, What Teachers Should Know About the Bootstrap, 2015 (expanded percentile interval).

    >>> interval(np.arange(101.0), level=0.5)
    Interval(low=25.0, high=75.0)
    """
    if samples_b.ndim != 1:
        raise EnsError(f"expected one score per resample, got shape {samples_b.shape}; pass one system and class")
    check_level(level)
    kept = samples_b[~np.isnan(samples_b)]
    if not kept.size:
        return Interval(math.nan, math.nan)
    share = (1 + level) / 2 if left_out_g is None else _expanded(level, left_out_g)
    low, high = np.quantile(kept, [1 - share, share])
    return Interval(float(low), float(high))


def _expanded(level: float, left_out_g: Floats) -> float:
    """Return the share of the resamples below the upper limit."""
    check_left_out(left_out_g)
    return NormalDist().cdf(student(left_out_g, level) * math.sqrt(len(left_out_g) / (len(left_out_g) - 1)))


def student(left_out_g: Floats, level: float) -> float:
    """Return the ``(1 + level) / 2`` quantile of Student's t at the `effective_freedom` of the left-out scores."""
    from scipy.special import stdtrit  # noqa: PLC0415

    return float(stdtrit(effective_freedom(left_out_g), (1 + level) / 2))


def check_level(level: float) -> None:
    """Refuse a level that is not between 0 and 1."""
    if not 0 < level < 1:
        raise EnsError(f"expected a level between 0 and 1, got {level}; 95 % is 0.95")


def check_left_out(left_out_g: Floats) -> None:
    """Refuse left-out scores that do not have one axis of at least two groups."""
    if left_out_g.ndim != 1 or len(left_out_g) < 2:
        raise EnsError(f"expected the score with each of at least 2 groups left out, got shape {left_out_g.shape}")
