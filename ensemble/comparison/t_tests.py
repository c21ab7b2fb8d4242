"""Compute the power of t tests, and the number of groups or seeds that reaches a power of 80 %.

statsmodels is not used here. Measured with version 0.15: its two-sided power is NaN from about 8 standard errors on,
and its solver is off by up to 21 % at fractional degrees of freedom near 1 and fails for large effects. The solver also
ties the degrees of freedom to the number of observations; here they are effective degrees that grow with the groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ensemble.comparison.inference import LEVEL

POWER = 0.8
MOST = 10**7  # a larger number of groups or seeds counts as infinite


def power_of_t(shift: float, freedom: float) -> float:
    """Return the power of a two-sided t test at 5 % if the expected difference is ``shift`` standard errors.

    ``P(|T| > t)`` for T noncentral t with ``freedom`` degrees of freedom and t the 97.5 % quantile of Student's.

    Reference:
        Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd edition, 1988, section 2.3.

    >>> round(power_of_t(0.5 * math.sqrt(34), freedom=33), 2)  # 34 pairs show d = 0.5 in 80 %
    0.81
    """
    from scipy.stats import nct, t  # noqa: PLC0415  (half a second)

    limit = t.isf(LEVEL / 2, freedom)
    other_side = float(nct.cdf(-limit, freedom, shift))  # SciPy returns NaN where it vanishes
    return float(nct.sf(limit, freedom, shift)) + (0.0 if math.isnan(other_side) else other_side)


def safe(spread: float, freedom: float) -> float:
    """Return a spread that the true one exceeds in one of five cases.

    ``spread sqrt(freedom / chi2)``, chi2 the 20 % quantile. Numbers that are computed from an estimated spread reach
    their power in about half of the cases. Numbers that are computed from this safe spread reach it in four of five.

    Args:
        spread: estimated spread.
        freedom: degrees of freedom of the estimate.

    Reference:
        Browne, On the Use of a Pilot Sample for Sample Size Determination, 1995.

    >>> round(safe(1.0, 10), 3)
    1.272
    """
    from scipy.stats import chi2  # noqa: PLC0415

    return spread * math.sqrt(freedom / float(chi2.ppf(1 - POWER, freedom)))


def needed_groups(difference: float, spread: float, groups: int, freedom: float) -> float:
    """Return the number of groups that show a difference with 80 % power.

    Args:
        difference: the difference.
        spread: its standard deviation from group to group.
        groups: number of groups from which the spread was estimated.
        freedom: effective degrees of freedom of these groups; they grow in proportion to the groups.

    >>> needed_groups(0.5, spread=1.0, groups=100, freedom=99)
    34
    """

    def enough(wanted: int) -> bool:
        wanted_freedom = max(1.0, freedom * (wanted - 1) / (groups - 1))
        return power_of_t(difference / spread * math.sqrt(wanted), wanted_freedom) >= POWER

    return _smallest(enough)


def visible_difference(spread: float, groups: int, freedom: float) -> float:
    """Return the difference that ``groups`` show with 80 % power.

    >>> round(visible_difference(spread=1.0, groups=34, freedom=33), 3)
    0.495
    """
    from scipy.optimize import root_scalar  # noqa: PLC0415

    solution = root_scalar(lambda shift: power_of_t(shift, freedom) - POWER, bracket=(0.0, 30.0))
    return spread * float(solution.root) / math.sqrt(groups)


def needed_seeds(difference: float, noise: float) -> float:
    """Return how often each of two recipes must be trained to show a difference with 80 % power.

    The test is a two-sample t test at 5 %.

    >>> needed_seeds(0.5, noise=1.0)  # Cohen 1988: d = 0.5 takes 64 in each of two samples
    64
    """
    return _smallest(lambda wanted: power_of_t(difference / noise * math.sqrt(wanted / 2), 2 * wanted - 2) >= POWER)


def _smallest(enough: Callable[[int], bool]) -> float:
    """Return the smallest number from 2 on that is enough; infinity beyond ``MOST``."""
    high = 2
    while not enough(high):
        high *= 2
        if high > MOST:
            return math.inf
    low = max(1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
