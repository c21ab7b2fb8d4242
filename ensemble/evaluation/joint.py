"""Several differences at once: the level of each interval with which all of them hold together.

The best of many variants looks good by chance. Bonferroni's level 1 - 0.05 / m guards against it as if the m
differences had nothing in common; variants of one ensemble have nearly everything in common, and then it is needlessly
strict. The resamples of groups show how the differences move together.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.paired import PairedDifference


def joint_level(differences: Sequence[PairedDifference], error: float = 0.05) -> float:
    r"""Return the level of each interval with which the intervals of all differences hold together.

    With d the differences in a resample b of groups, m and s their mean and standard deviation over the resamples,
    and c the quantile that the largest of them stays below with the probability 1 - ``error``, it is the probability
    of a normal variable between -c and c (single-step max-t):

    .. math:: P_b\Big( \max_j |d_{jb} - m_j| / s_j \le c \Big) = 1 - \mathrm{error}, \qquad
              \mathrm{level} = 2 \Phi(c) - 1

    It lies between 1 - ``error``, for differences that move as one, and Bonferroni's 1 - ``error`` / m. A difference
    that is the same in all resamples, as that of equal systems, does not count.

    Args:
        differences: two or more, on the same draws.
        error: probability that any of the intervals misses.

    Reference:
        Westfall and Young, Resampling-Based Multiple Testing, 1993; Hothorn, Bretz and Westfall, Simultaneous Inference
        in General Parametric Models, 2008. Measured: ``experiments/benchmarks/looks.py``.

    >>> moves_b = np.random.default_rng(0).normal(size=10_000)
    >>> one = PairedDifference(0.1, moves_b, np.array([0.1, 0.2]))
    >>> round(joint_level([one] * 20), 3)
    0.95
    """
    deviations: list[Floats] = []
    for difference in differences:
        samples_b = difference.samples_b
        known_b = ~np.isnan(samples_b)
        spread = float(samples_b[known_b].std()) if known_b.any() else 0.0
        if spread > 0:
            deviations.append(np.where(known_b, np.abs(samples_b - samples_b[known_b].mean()) / spread, 0.0))
    if not deviations:
        return 1 - error
    largest_b = np.maximum.reduce(deviations)
    level = 2 * NormalDist().cdf(float(np.quantile(largest_b, 1 - error))) - 1
    return float(np.clip(level, 1 - error, 1 - error / len(deviations)))
