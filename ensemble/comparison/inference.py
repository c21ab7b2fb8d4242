"""p-values that agree with the intervals of paired differences, their correction, and effect sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.intervals import effective_freedom
from ensemble.evaluation.paired import Comparison, PairedDifference

LEVEL = 0.05


def compare_with_p(difference: PairedDifference) -> tuple[Comparison, float]:
    """Return the comparison of two systems and its p-value: ``p < 0.05`` exactly if the interval does not hold zero.

    The limits of :func:`ensemble.evaluation.intervals.interval` are the quantiles ``Phi(-z)`` and ``Phi(z)`` of the
    resamples with ``z = c t``, ``c = sqrt(g / (g - 1))`` and t a quantile of Student's t at the effective degrees of
    freedom. If zero is the quantile ``Phi(-z0)`` or ``Phi(z0)``, the interval of level 1 - p ends at zero with::

        p = 2 P(T > z0 / c)

    No quantile lies outside the resamples. If all resamples are on one side of zero, and few groups decide (a large t)
    or many pairs ask for a small p, the tail is continued as that of a normal distribution: beyond the outermost of B
    resamples by ``z - Phi^-1(B / (B + 1))`` of their standard deviations.

    Args:
        difference: first system minus second system.

    Returns:
        The comparison and its two-sided p-value. Interval and p are NaN if no two resamples differ, as with a class
        that only one group holds: the data do not show how far the difference would move. Systems that never differ
        have p 1.

    Reference:
        Casella and Berger, Statistical Inference, 2nd edition, 2002, section 9.2 (tests and intervals of each other).

    >>> values_g = np.random.default_rng(0).normal(0.02, 0.1, 50)
    >>> counts_bg = np.random.default_rng(1).multinomial(50, [1 / 50] * 50, size=20_000)
    >>> left_out_g = (values_g.sum() - values_g) / 49
    >>> _, p = compare_with_p(PairedDifference(values_g.mean(), counts_bg @ values_g / 50, left_out_g))
    >>> from scipy.stats import ttest_1samp
    >>> bool(abs(p - ttest_1samp(values_g, 0).pvalue) < 0.02)
    True
    """
    from scipy.special import stdtr, stdtrit  # noqa: PLC0415  (a third of a second)

    comparison = difference.comparison()
    sorted_b = np.sort(difference.samples_b[~np.isnan(difference.samples_b)])
    if not sorted_b.size or sorted_b[0] == sorted_b[-1]:
        same = bool(sorted_b.size) and sorted_b[0] == 0 == difference.estimate
        return (comparison, 1.0) if same else (replace(comparison, low=math.nan, high=math.nan), math.nan)
    freedom, groups = effective_freedom(difference.left_out_g), len(difference.left_out_g)
    widening = math.sqrt(groups / (groups - 1))
    z = widening * float(stdtrit(freedom, 1 - LEVEL / 2))
    if z > _outermost(sorted_b.size) and not comparison.covers_zero:
        comparison = replace(comparison, low=_below(sorted_b, z), high=-_below(-sorted_b[::-1], z))
    z0 = max(_distance(sorted_b), _distance(-sorted_b[::-1]), 0.0)
    return comparison, 2 * float(stdtr(freedom, -z0 / widening))


def _outermost(size: int) -> float:
    """Return the normal quantile that the outermost of ``size`` resamples stands for."""
    from scipy.special import ndtri  # noqa: PLC0415

    return -float(ndtri(1 / (size + 1)))


def _below(sorted_b: Floats, z: float) -> float:
    """Return the lower limit for a z beyond the smallest resample."""
    return float(sorted_b[0] - (z - _outermost(sorted_b.size)) * sorted_b.std())


def _distance(sorted_b: Floats) -> float:
    """Return the z at which the lower limit falls to zero; it is negative if zero lies above the median."""
    from scipy.special import ndtri  # noqa: PLC0415

    last = sorted_b.size - 1
    upper = int(np.searchsorted(sorted_b, 0.0, side="right"))
    if upper > last:
        return -math.inf
    outermost = _outermost(sorted_b.size)
    if upper == 0:
        return outermost + float(sorted_b[0] / sorted_b.std())
    below, above = sorted_b[upper - 1 : upper + 1]
    share = (upper - 1 - below / (above - below)) / last  # np.quantile interpolates in the same way
    return min(-float(ndtri(share)), outermost) if share > 0 else outermost


def effect_size(difference: PairedDifference) -> float:
    """Return the difference over its standard deviation from group to group; it does not grow with the groups.

    ``d = difference / s`` with ``s = sd_b g / sqrt(g - 1)``: the spread of single groups that the spread ``sd_b`` of
    the resamples comes from. By convention 0.2 is small and 0.8 large; ``(2.8 / d)^2`` groups show it in four of five
    cases. NaN if the difference never changes.

    Reference:
        Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd edition, 1988, section 2.3 (d of paired
        samples).

    >>> values_g = np.array([0.1, 0.3, 0.2, 0.4])
    >>> counts_bg = np.random.default_rng(0).multinomial(4, [0.25] * 4, size=200_000)
    >>> d = effect_size(PairedDifference(0.25, counts_bg @ values_g / 4, (1.0 - values_g) / 3))
    >>> round(d, 2), round(0.25 / float(values_g.std(ddof=1)), 2)
    (1.94, 1.94)
    """
    spread = spread_of_groups(difference)
    return difference.estimate / spread if spread > 0 else math.nan


def spread_of_groups(difference: PairedDifference) -> float:
    """Return the standard deviation of a difference from group to group; see :func:`effect_size`."""
    kept_b, groups = difference.samples_b[~np.isnan(difference.samples_b)], len(difference.left_out_g)
    return float(kept_b.std()) * groups / math.sqrt(groups - 1) if kept_b.size else math.nan


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's procedure; NaN values stay NaN and do not count.

    Of m values in ascending order the i-th becomes ``max over j <= i of (m - j + 1) p_j``, at most 1. The rate of any
    false difference stays below 5 % at 5 %, however the values depend on one another.

    Reference:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.

    >>> [round(value, 2) for value in holm([0.01, 0.04, float("nan"), 0.03])]
    [0.03, 0.06, nan, 0.06]
    """
    corrected = np.array(p, dtype=np.float64)
    order = np.argsort(corrected)[: int((~np.isnan(corrected)).sum())]  # NaN sorts last
    # statsmodels collects garbage in every call, which takes 0.04 to 0.5 s, so it is the reference of the tests only.
    weighted = corrected[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.maximum.accumulate(weighted).clip(max=1.0)
    return corrected.tolist()
