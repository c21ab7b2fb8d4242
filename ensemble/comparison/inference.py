"""The correction of p-values for their number, and effect sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ensemble.evaluation.paired import PairedDifference

LEVEL = 0.05


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
