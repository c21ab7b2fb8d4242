"""Compute intervals of scores between 0 and 1: IoU, Dice and F1 of each class, and their mean over the classes.

With few groups that hold a class its sampling error has a long side towards the middle, and resamples of those few do
not show it: a percentile interval of the IoU then lies below the truth. On the scale of the logit the error has no long
side, and Student's t holds. How often both miss: ``experiments/benchmarks/coverage.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import Floats, mean_present
from ensemble.evaluation.intervals import Interval, check_left_out, check_level, effective_freedom, student

FEW_DECIDE = (2.0, 4.0)
"""Effective degrees of freedom: up to the first the spread between groups is that of one group, from the second on it
is trusted as it is."""


def share_interval(estimate: float, left_out_g: Floats, holders: int, level: float = 0.95) -> Interval:
    """Return the interval of a score between 0 and 1 (IoU, Dice, F1): the jackknife on the scale of the logit.

    ``logit(s) - t e`` to ``logit(s) + t e``, mapped back, with ``e = sqrt((g - 1) / g sum_g (z_g - mean z)^2)``: z_g is
    the logit of the score without group g, and t the ``(1 + level) / 2`` quantile of Student's t at the
    `effective_freedom` of the z_g. IoU and Dice get the same interval by it: their logits differ by log 2.

    Below two degrees of freedom one group decides, and Student's t has no variance. The limit on the side of 1/2 is
    then no farther than that of Clopper and Pearson for this share of ``holders`` trials, as if each group that holds
    the class were wholly right or wholly wrong. From two to four degrees the limit moves, on the scale of the logit,
    from this bound to its own place, so that it does not leap where a few pixels more are found. A score that is 0 or
    1, or becomes 0, 1 or NaN without one of the groups, has only the bound on this side: 0 hits in 14 groups is an IoU
    of 0 to 0.23, not of 0 to 0.

    Args:
        estimate: the score on the images themselves.
        left_out_g: the same score with each group left out, from `Bootstrap.leave_one_out`.
        holders: number of groups that hold what is scored: for a class those with a pixel of it in the truth, for a
            score of all pixels all groups.
        level: probability between 0 and 1.

    Returns:
        The limits, both between 0 and 1; both are NaN if the score is NaN.

    Raises:
        EnsError: fewer than two groups, more than one axis, or a level that is not between 0 and 1.

    Reference:
        Miller, The Jackknife: A Review, 1974 (transform first); Korn and Graubard, Confidence Intervals for Proportions
        with Small Expected Number of Positive Counts Estimated from Survey Data, 1998 (few positive groups).

    >>> share_interval(0.3, np.array([0.25, 0.31, 0.32, 0.30]), holders=4)  # doctest: +ELLIPSIS
    Interval(low=0.1705..., high=0.4718...)
    >>> share_interval(0.0, np.zeros(50), holders=14)  # doctest: +ELLIPSIS
    Interval(low=0.0, high=0.2316...)
    """
    from scipy.special import expit, logit  # noqa: PLC0415  (importing ensemble.evaluation needs NumPy only)

    check_level(level)
    check_left_out(left_out_g)
    if math.isnan(estimate):
        return Interval(math.nan, math.nan)
    middle, logits_g, low, high, trust = float(logit(estimate)), np.asarray(logit(left_out_g)), 0.0, 1.0, 0.0
    if math.isfinite(middle) and np.isfinite(logits_g).all():
        margin = student(logits_g, level) * float(logits_g.std()) * math.sqrt(len(logits_g) - 1)
        low, high = float(expit(middle - margin)), float(expit(middle + margin))
        trust = float(np.interp(effective_freedom(logits_g), FEW_DECIDE, (0, 1)))
    bounds = _clopper_pearson(estimate, holders, level)
    if estimate >= 0.5 and bounds.low > low:
        low = _between(bounds.low, low, trust)
    if estimate <= 0.5 and bounds.high < high:
        high = _between(bounds.high, high, trust)
    return Interval(low, high)


def _between(bound: float, own: float, trust: float) -> float:
    """Return a limit that is ``bound`` without any trust in its ``own`` place, and that place with full trust."""
    from scipy.special import expit, logit  # noqa: PLC0415

    if trust in {0, 1}:  # a limit of 0 or 1 has no finite logit
        return own if trust else bound
    return float(expit((1 - trust) * logit(bound) + trust * logit(own)))


def class_intervals(
    estimate_k: Floats, left_out_gk: Floats, holders_k: Sequence[int], level: float = 0.95
) -> list[Interval]:
    """Return the interval of the mean over the classes, followed by the `share_interval` of each class.

    That of the mean is ``mean - sqrt(d' R d) / k`` to ``mean + sqrt(u' R u) / k``, with d and u the distances from the
    score of each class down and up to its limits, and R the correlation of the classes as groups are left out. The
    mean's own changes would hide that a class in few groups has a long side. Absent classes (NaN) are left out.

    Args:
        estimate_k: score of each class on the images themselves, between 0 and 1.
        left_out_gk: the same scores with each group left out.
        holders_k: for each class the number of groups that hold it.
        level: probability between 0 and 1.

    Returns:
        1 + k intervals.

    Raises:
        EnsError: the arguments are not of the same classes; else as `share_interval`.

    Reference:
        Zou and Donner, Construction of Confidence Limits About Effect Measures, 2008; Zou, Toward Using Confidence
        Intervals to Compare Correlations, 2007 (correlated estimates).

    >>> left_out_gk = np.array([[0.81, 0.1], [0.8, 0.1], [0.79, 0.0], [0.8, 0.1]])  # all hits of rock in one group
    >>> mean, soil, rock = class_intervals(np.array([0.8, 0.1]), left_out_gk, [4, 2])
    >>> mean.high - 0.45 > 3 * (0.45 - mean.low)  # the long side of rock
    True
    """
    if left_out_gk.shape[1:] != estimate_k.shape or estimate_k.shape != (len(holders_k),):
        raise EnsError(
            f"expected a score and a number of groups for each class, and the scores (groups, classes) without each"
            f" group, got shapes {estimate_k.shape}, ({len(holders_k)},) and {left_out_gk.shape}"
        )
    columns = zip(estimate_k, left_out_gk.T, holders_k, strict=True)
    each = [share_interval(float(score), left_out_g, held, level) for score, left_out_g, held in columns]
    present_k = ~np.isnan(estimate_k)
    if not present_k.any():
        return [Interval(math.nan, math.nan), *each]
    limits_k2 = np.array([(limit.low, limit.high) for limit in each])[present_k]
    below_k, above_k = np.abs(limits_k2 - estimate_k[present_k, None]).T
    shared_kk = _correlation(left_out_gk[:, present_k])
    mean, count = float(mean_present(estimate_k)), len(below_k)
    down, up = (math.sqrt(far_k @ shared_kk @ far_k) / count for far_k in (below_k, above_k))
    return [Interval(mean - down, mean + up), *each]


def _correlation(left_out_gk: Floats) -> Floats:
    """Return the correlation of the columns; a column that does not change has 0 with others and 1 with itself."""
    changes_gk = np.nan_to_num(left_out_gk - np.nanmean(left_out_gk, axis=0))
    lengths_k = np.linalg.norm(changes_gk, axis=0)
    unit_gk = np.divide(changes_gk, lengths_k, out=np.zeros_like(changes_gk), where=lengths_k > 0)
    shared_kk = unit_gk.T @ unit_gk
    np.fill_diagonal(shared_kk, 1.0)
    return shared_kk


def _clopper_pearson(share: float, trials: int, level: float) -> Interval:
    """Return the limits of a probability from a share of successes (need not be whole) among independent trials."""
    from scipy.special import betaincinv  # noqa: PLC0415

    tail, hits = (1 - level) / 2, share * trials
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return Interval(low, high)
