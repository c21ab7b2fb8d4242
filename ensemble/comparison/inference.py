"""Intervals of paired differences with the p-values that agree with them, their correction, and effect sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.intervals import Comparison, compare, effective_freedom

RESAMPLES = 10_000
LEVEL = 0.05


def judge(a_b: Floats, b_b: Floats, difference: float, left_out_g: Floats) -> tuple[Comparison, float]:
    """Compare two systems, and turn the interval into a p-value: ``p < 0.05`` exactly where it leaves zero out.

    The limits of :func:`ensemble.evaluation.intervals.interval` are the quantiles ``Phi(-z)`` and ``Phi(z)`` of the
    resamples with ``z = c t``, ``c = sqrt(g / (g - 1))`` and t a quantile of Student's t at the effective degrees of
    freedom. Where zero is the quantile ``Phi(-z0)`` or ``Phi(z0)``, the interval of level 1 - p ends at it with::

        p = 2 P(T > z0 / c)

    No quantile lies outside the resamples. Where they are all on one side of zero, and few groups decide (a large t) or
    many pairs ask for a small p, the tail is continued as that of a normal distribution: beyond the outermost of B
    resamples by ``z - Phi^-1(B / (B + 1))`` of their standard deviations.

    Args:
        a_b: score of the first system in each resample.
        b_b: score of the second one in the same resamples.
        difference: first minus second on the images themselves.
        left_out_g: the same with each group left out.

    Returns:
        The comparison and its two-sided p-value. Interval and p are NaN where no two resamples differ, as with a class
        that one group alone holds: nothing says how far the difference would move. Systems that never differ have p 1.

    Reference:
        Casella and Berger, Statistical Inference, 2nd edition, 2002, section 9.2 (tests and intervals of each other).

    >>> values_g = np.random.default_rng(0).normal(0.02, 0.1, 50)
    >>> counts_bg = np.random.default_rng(1).multinomial(50, [1 / 50] * 50, size=20_000)
    >>> left_out_g = (values_g.sum() - values_g) / 49
    >>> found, p = judge(counts_bg @ values_g / 50, np.zeros(20_000), values_g.mean(), left_out_g)
    >>> from scipy.stats import ttest_1samp
    >>> bool(abs(p - ttest_1samp(values_g, 0).pvalue) < 0.02)
    True
    """
    from scipy.special import stdtr, stdtrit  # noqa: PLC0415  (a third of a second)

    found = compare(a_b, b_b, difference, left_out_g=left_out_g)
    sorted_b = np.sort((a_b - b_b)[~np.isnan(a_b - b_b)])
    if not sorted_b.size or sorted_b[0] == sorted_b[-1]:
        same = bool(sorted_b.size) and sorted_b[0] == 0 == difference
        return (found, 1.0) if same else (replace(found, low=math.nan, high=math.nan), math.nan)
    freedom, groups = effective_freedom(left_out_g), len(left_out_g)
    widening = math.sqrt(groups / (groups - 1))
    z = widening * float(stdtrit(freedom, 1 - LEVEL / 2))
    if z > _outermost(sorted_b.size) and not found.covers_zero:
        found = replace(found, low=_below(sorted_b, z), high=-_below(-sorted_b[::-1], z))
    z0 = max(_distance(sorted_b), _distance(-sorted_b[::-1]), 0.0)
    return found, 2 * float(stdtr(freedom, -z0 / widening))


def _outermost(size: int) -> float:
    """Normal quantile that the outermost of so many resamples stands for."""
    from scipy.special import ndtri  # noqa: PLC0415

    return -float(ndtri(1 / (size + 1)))


def _below(sorted_b: Floats, z: float) -> float:
    """The lower limit at z beyond the smallest resample."""
    return float(sorted_b[0] - (z - _outermost(sorted_b.size)) * sorted_b.std())


def _distance(sorted_b: Floats) -> float:
    """The z at which the lower limit falls to zero; negative where zero lies above the median."""
    from scipy.special import ndtri  # noqa: PLC0415

    last = sorted_b.size - 1
    upper = int(np.searchsorted(sorted_b, 0.0, side="right"))
    if upper > last:
        return -math.inf
    outermost = _outermost(sorted_b.size)
    if upper == 0:
        return outermost + float(sorted_b[0] / sorted_b.std())
    below, above = sorted_b[upper - 1 : upper + 1]
    share = (upper - 1 - below / (above - below)) / last  # as np.quantile interpolates
    return min(-float(ndtri(share)), outermost) if share > 0 else outermost


def effect_size(difference: float, samples_b: Floats, groups: int) -> float:
    """The difference over its standard deviation from group to group, which does not grow with the number of groups.

    ``d = difference / s`` with ``s = sd_b g / sqrt(g - 1)``: the spread of single groups that the spread ``sd_b`` of
    the resamples comes from. By convention 0.2 is small and 0.8 large; ``(2.8 / d)^2`` groups show it in four of five
    cases. NaN where nothing differs.

    Args:
        difference: on all images.
        samples_b: in each resample.
        groups: number of groups g.

    Reference:
        Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd edition, 1988, section 2.3 (d of paired
        samples).

    >>> values_g = np.array([0.1, 0.3, 0.2, 0.4])
    >>> counts_bg = np.random.default_rng(0).multinomial(4, [0.25] * 4, size=200_000)
    >>> d = effect_size(0.25, counts_bg @ values_g / 4, groups=4)
    >>> round(d, 2), round(0.25 / float(values_g.std(ddof=1)), 2)
    (1.94, 1.94)
    """
    spread = spread_of_groups(samples_b, groups)
    return difference / spread if spread > 0 else math.nan


def spread_of_groups(samples_b: Floats, groups: int) -> float:
    """Standard deviation of a difference from group to group, from its resamples; see :func:`effect_size`."""
    kept_b = samples_b[~np.isnan(samples_b)]
    return float(kept_b.std()) * groups / math.sqrt(groups - 1) if kept_b.size else math.nan


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's procedure; NaN stays and does not count.

    Of m values in ascending order the i-th becomes ``max over j <= i of (m - j + 1) p_j``, at most 1: the rate of any
    false difference stays below 5 % at 5 %, however the values depend on one another.

    Reference:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.

    >>> [round(value, 2) for value in holm([0.01, 0.04, float("nan"), 0.03])]
    [0.03, 0.06, nan, 0.06]
    """
    corrected = np.array(p, dtype=np.float64)
    order = np.argsort(corrected)[: int((~np.isnan(corrected)).sum())]  # NaN sorts last
    weighted = corrected[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.maximum.accumulate(weighted).clip(max=1.0)
    return corrected.tolist()
