"""Power of t tests, and the number of groups or seeds that reaches 80 % of it."""

from __future__ import annotations

import math
from collections.abc import Callable

from ensemble.comparison.inference import LEVEL

POWER = 0.8
MOST = 10**7  # more groups or seeds than this are as good as none


def power_of_t(shift: float, freedom: float) -> float:
    """Power of a two-sided t test at 5 % where the expected difference is ``shift`` standard errors.

    ``P(|T| > t)`` for T noncentral t with ``freedom`` degrees of freedom and t the 97.5 % quantile of Student's.

    Reference:
        Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd edition, 1988, section 2.3.

    >>> round(power_of_t(0.5 * math.sqrt(34), freedom=33), 2)  # 34 pairs show d = 0.5 in 80 %
    0.81
    """
    from scipy.stats import nct, t  # noqa: PLC0415  (half a second)

    limit = t.isf(LEVEL / 2, freedom)
    other_side = float(nct.cdf(-limit, freedom, shift))  # NaN where it vanishes
    return float(nct.sf(limit, freedom, shift)) + (0.0 if math.isnan(other_side) else other_side)


def safe(spread: float, freedom: float) -> float:
    """A spread that the true one exceeds in one of five cases, for an estimate with ``freedom`` degrees of freedom.

    ``spread sqrt(freedom / chi2)``, chi2 the 20 % quantile. Numbers that are worked out from an estimated spread itself
    reach their power in about half of the cases; from this one they do in four of five.

    Reference:
        Browne, On the Use of a Pilot Sample for Sample Size Determination, 1995.

    >>> round(safe(1.0, 10), 3)
    1.272
    """
    from scipy.stats import chi2  # noqa: PLC0415

    return spread * math.sqrt(freedom / float(chi2.ppf(1 - POWER, freedom)))


def needed_groups(difference: float, spread: float, groups: int, freedom: float) -> float:
    """Groups that show a difference with 80 % power, where ``groups`` of them had ``freedom`` degrees of freedom.

    >>> needed_groups(0.5, spread=1.0, groups=100, freedom=99)
    34
    """

    def enough(wanted: int) -> bool:
        wanted_freedom = max(1.0, freedom * (wanted - 1) / (groups - 1))
        return power_of_t(difference / spread * math.sqrt(wanted), wanted_freedom) >= POWER

    return _smallest(enough)


def visible_difference(spread: float, groups: int, freedom: float) -> float:
    """Difference that ``groups`` show with 80 % power.

    >>> round(visible_difference(spread=1.0, groups=34, freedom=33), 3)
    0.495
    """
    from scipy.optimize import root_scalar  # noqa: PLC0415

    found = root_scalar(lambda shift: power_of_t(shift, freedom) - POWER, bracket=(0.0, 30.0))
    return spread * float(found.root) / math.sqrt(groups)


def needed_seeds(difference: float, noise: float) -> float:
    """Trainings of each of two recipes that show a difference with 80 % power in a two-sample t test at 5 %.

    >>> needed_seeds(0.5, noise=1.0)  # Cohen 1988: d = 0.5 takes 64 in each of two samples
    64
    """
    return _smallest(lambda wanted: power_of_t(difference / noise * math.sqrt(wanted / 2), 2 * wanted - 2) >= POWER)


def _smallest(enough: Callable[[int], bool]) -> float:
    """The smallest number from 2 on that is enough; infinity beyond ``MOST``."""
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
