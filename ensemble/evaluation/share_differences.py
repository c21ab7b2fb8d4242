"""Compute intervals and p-values of differences of scores between 0 and 1: IoU, Dice and F1, and means over classes.

If few groups hold a class, and two systems treat it differently, the error of their difference has a long side, as that
of a single IoU has (see ``proportion_intervals``), and resamples of those few groups do not show it. On the scale of
the logit the errors of all classes of both systems have no long side, and their covariance keeps the pairing. How often
the intervals miss: ``experiments/benchmarks/verdict_rates.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.intervals import Interval, check_level, effective_freedom
from ensemble.evaluation.shares import Shares

STEPS = (*np.geomspace(0.05, 1.0, 8).tolist(), *(1.0,) * 8)
"""The search for the largest difference follows growing ellipsoids, as shares of the last one."""

SMALLEST = 0.01
"""Share of a score, or of its distance to 1, that is kept when it becomes 0 or 1 without one of the groups."""


ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class ShareDifference:
    r"""Mean score of one system minus that of another, where all scores are between 0 and 1.

    With z the logits of the scores of both systems, V the jackknife estimate of their covariance and t the quantile of
    Student's t, the limits are the smallest and the largest value of the difference over an ellipsoid:

    .. math:: \min, \max \Big\{ \tfrac1K \sum_k \sigma(z_{1k}) - \sigma(z_{2k}) :
              (z - \hat z)^\top V^{-1} (z - \hat z) \le t^2 \Big\}

    For one score alone this is the logit interval ``z - t e`` to ``z + t e`` mapped back. Scores that two systems get
    on the same groups move together, so equal systems have the interval 0 to 0. The degrees of freedom are the smaller
    of two estimates: Welch's, by the number of groups that hold each class (or, of objects, in which the better system
    finds one), and `effective_freedom`.

    A score of exactly 0 or 1 is taken as it is. A class that one group holds may have any score in both systems.
    If one group decides, Student's t has no variance, and the ellipsoid reaches any score. Limits of `Shares.bounded`
    scores are no farther from 0 than the lowest score of one system is from the highest one of the other.

    Attributes:
        one: scores of the first system.
        other: scores of the second system, of the same classes on the same groups.

    Reference:
        Venzon and Moolgavkar, A Method for Computing Profile-Likelihood-Based Confidence Intervals, 1988 (extremes of a
        function over a confidence region); Miller, The Jackknife: A Review, 1974; Welch, The Generalization of
        Student's Problem When Several Different Population Variances Are Involved, 1947.

    >>> left_out_gk = np.random.default_rng(0).normal(0.6, 0.01, (30, 2))
    >>> one = Shares(np.array([0.6, 0.6]), left_out_gk, np.array([30, 30]))
    >>> ShareDifference(one, one).interval(0.95)
    Interval(low=0.0, high=0.0)
    >>> other = Shares(np.array([0.5, 0.6]), left_out_gk - [0.1, 0.0], np.array([30, 30]))
    >>> ShareDifference(one, other).interval(0.95).low > 0.04
    True
    """

    one: Shares
    other: Shares

    def interval(self, level: float) -> Interval:
        """Return the limits; both are NaN if no class has a score, or the only one is held by one group.

        Raises:
            EnsError: a level that is not between 0 and 1.
        """
        from scipy.special import stdtrit  # noqa: PLC0415  (importing ensemble.evaluation needs NumPy only)

        check_level(level)
        if not self._known:
            return Interval(math.nan, math.nan)
        t = float(stdtrit(self.freedom, (1 + level) / 2))
        limits = self._extremes(np.array([t, t]), np.array([-1.0, 1.0])).tolist()
        low, high = (0.0 if abs(limit) < ROUNDING else limit for limit in limits)
        if not self.one.bounded:
            return Interval(low, high)
        one, other = self.one.interval(level), self.other.interval(level)
        return Interval(max(low, min(one.low - other.high, 0.0)), min(high, max(one.high - other.low, 0.0)))

    @property
    def centre(self) -> float:
        """The difference of the scores."""
        return float(self._weights_2k.ravel() @ self._whole_2k.ravel())

    def p_value(self) -> float:
        """Return the two-sided p-value: the interval of level 1 - p ends at zero. NaN without an interval."""
        from scipy.special import stdtr  # noqa: PLC0415

        if not self._known:
            return math.nan
        side = -1.0 if self.centre > 0 else 1.0
        low, high = 0.0, 1e4
        for _ in range(3):  # after the first search the bracket becomes 30 times smaller, twice
            t_b = np.linspace(low, high, 31) if low else np.concatenate([[0.0], np.geomspace(1e-3, high, 60)])
            reached_b = side * self._extremes(t_b, np.full(len(t_b), side)) > -ROUNDING
            if not reached_b.any():
                return 0.0
            first = int(reached_b.argmax())
            if first == 0:
                return 2 * float(stdtr(self.freedom, -t_b[0]))
            low, high = float(t_b[first - 1]), float(t_b[first])
        return 2 * float(stdtr(self.freedom, -(low + high) / 2))

    @cached_property
    def freedom(self) -> float:
        """Degrees of freedom."""
        slopes_2k = self._weights_2k * self._whole_2k * (1 - self._whole_2k)
        changes_gk = (self._changes_g2k * slopes_2k).sum(1)
        spreads_k, most = (changes_gk**2).sum(0), len(changes_gk) - 1.0
        if not spreads_k.any():
            return most
        spreads_k /= spreads_k.max()
        groups_k = np.maximum(self.one.spread_k, self.other.spread_k)
        welch = float(spreads_k.sum() ** 2 / (spreads_k**2 / np.maximum(groups_k - 1, 1)).sum())
        return float(np.clip(min(welch, effective_freedom(changes_gk.sum(1))), 1, most))

    @cached_property
    def _whole_2k(self) -> Floats:
        """Scores of both systems, 0 for absent classes."""
        return np.nan_to_num(np.stack([self.one.whole_k, self.other.whole_k]))

    @cached_property
    def _lone_k(self) -> NDArray[np.bool_]:
        """Classes whose scores differ and rest on one group, so that nothing shows how far they would move."""
        left_out_gk = self.one.left_out_gk + self.other.left_out_gk
        return ~np.isnan(self.one.whole_k) & np.isnan(left_out_gk).any(0) & (self._whole_2k[0] != self._whole_2k[1])

    @cached_property
    def _weights_2k(self) -> Floats:
        """Weights of the scores in the difference: 1 / K and -1 / K for present classes."""
        present_k = ~np.isnan(self.one.whole_k)
        return np.outer([1.0, -1.0], present_k / max(1, present_k.sum()))

    @property
    def _known(self) -> bool:
        return not np.isnan(self.one.whole_k).all() and not (self._lone_k | np.isnan(self.one.whole_k)).all()

    @cached_property
    def _changes_g2k(self) -> Floats:
        """Changes of the logits as groups are left out, scaled so that their squares add up to the covariance."""
        left_out_g2k = np.stack([self.one.left_out_gk, self.other.left_out_gk], axis=1)
        inside_2k = (self._whole_2k > 0) & (self._whole_2k < 1) & ~self._lone_k
        whole_2k = np.where(inside_2k, self._whole_2k, 0.5)
        left_out_g2k = np.where(inside_2k & ~np.isnan(left_out_g2k), left_out_g2k, whole_2k)
        left_out_g2k = np.clip(left_out_g2k, SMALLEST * whole_2k, 1 - SMALLEST * (1 - whole_2k))
        logits_g2k = np.log(left_out_g2k / (1 - left_out_g2k))
        groups = len(logits_g2k)
        return (logits_g2k - logits_g2k.mean(0)) * math.sqrt((groups - 1) / groups)

    @cached_property
    def _root_nn(self) -> Floats:
        """A matrix whose product with its transpose is the covariance of the logits of both systems."""
        changes_gn = self._changes_g2k.reshape(len(self._changes_g2k), -1)
        values_n, vectors_nn = np.linalg.eigh(changes_gn.T @ changes_gn)
        # The square root of what is only rounding would be as large as 1e-8.
        return vectors_nn * np.sqrt(np.where(values_n > ROUNDING * values_n.max(), values_n, 0.0))

    def _extremes(self, t_b: Floats, sign_b: Floats) -> Floats:
        """Return the largest (sign 1) or smallest (sign -1) difference over the ellipsoid of each radius t."""
        from scipy.special import expit, logit  # noqa: PLC0415

        weights_bn = np.outer(sign_b, self._weights_2k.ravel())
        whole_n, root_nn, radius_b1 = self._whole_2k.ravel(), self._root_nn, t_b[:, None]
        centre_n, share_bn = logit(whole_n), np.tile(whole_n, (len(t_b), 1))
        direction_bn = np.zeros_like(share_bn)
        best_b = (share_bn * weights_bn).sum(1)
        for step in STEPS:
            slope_bn = (weights_bn * share_bn * (1 - share_bn)) @ root_nn
            direction_bn = _divided(direction_bn + _divided(slope_bn, 1e-300), 1.0)
            share_bn = expit(centre_n + step * radius_b1 * (direction_bn @ root_nn.T))
            best_b = np.maximum(best_b, (share_bn * weights_bn).sum(1))
        return sign_b * (best_b + np.where(sign_b > 0, self._beyond(1.0), self._beyond(-1.0)))

    def _beyond(self, sign: float) -> float:
        """Return how much larger the difference is if the lone classes have the scores 1 and 0 (or 0 and 1)."""
        weights_k = self._weights_2k[0, self._lone_k]
        return float((weights_k * (1 - sign * (self._whole_2k[0] - self._whole_2k[1])[self._lone_k])).sum())


def _divided(rows_bn: Floats, least: float) -> Floats:
    """Return the rows divided by their lengths, or by ``least`` if they are shorter."""
    return rows_bn / np.maximum(np.sqrt((rows_bn * rows_bn).sum(1, keepdims=True)), least)
