"""Is system A better than system B? Score systems on the same resamples of image groups, and compare them in pairs.

Every comparison of this package is made here, in three steps: draw once, score each system, subtract.

>>> draws = Draws.of([f"scene {number}" for number in range(12)], resamples=1000)
>>> better = np.array([[[9, 1], [0, 5]], [[8, 2], [1, 5]], [[7, 1], [0, 3]], [[6, 0], [1, 7]]] * 3)
>>> worse = np.array([[[5, 5], [2, 3]], [[5, 5], [3, 3]], [[3, 5], [1, 2]], [[3, 3], [4, 4]]] * 3)
>>> found = draws.iou(better).minus(draws.iou(worse)).comparison()
>>> round(found.difference, 2), found.covers_zero
(0.47, False)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.caveats import RARE, few_hold, too_few_groups
from ensemble.evaluation.confusion import Counts, Floats, class_counts, iou_of, with_mean, with_mean_of
from ensemble.evaluation.intervals import Interval, effective_freedom, interval
from ensemble.evaluation.objects import ADDED, object_f1
from ensemble.evaluation.share_differences import ShareDifference
from ensemble.evaluation.shares import Shares

RESAMPLES = 10_000

Total = Callable[[NDArray[Any]], NDArray[Any]]
"""A function that adds up per-image values (n, ...): over all images (...), or over many choices of them (b, ...)."""


@dataclass(frozen=True)
class Comparison:
    """Paired difference of two systems: the estimate, its interval, and how often the first one was better."""

    difference: float
    low: float
    high: float
    probability_of_improvement: float
    few_groups: bool = False
    """Whether it is the IoU of one class that few groups hold, so that the interval misses too often."""

    @property
    def covers_zero(self) -> bool:
        """Whether the data do not show which system is better; True also if there are no data to compare."""
        return not (self.low > 0 or self.high < 0)

    @property
    def in_points(self) -> str:
        """The difference in points of IoU with its interval; see `RARE` for a ``~``. A missing difference is ``-``.

        >>> Comparison(0.00623, -0.001, 0.0131, 0.9).in_points
        '+0.62 (-0.10 to +1.31)'
        """
        if np.isnan(self.difference):
            return "-"
        value = f"{RARE if self.few_groups else ''}{100 * self.difference:+.2f}"
        if np.isnan(self.low):
            return f"{value} (no interval)"
        return f"{value} ({100 * self.low:+.2f} to {100 * self.high:+.2f})"


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """Score of one system minus that of another, on the same images.

    Attributes:
        estimate: the difference on all images; resamples give its spread, not its value.
        samples_b: the difference in each resample; NaN if a resample does not have the score.
        left_out_g: the difference with each group left out.
        shares: the scores between 0 and 1 that the difference is made of, if it is; then they give the interval.
    """

    estimate: float
    samples_b: Floats
    left_out_g: Floats
    shares: ShareDifference | None = None

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the interval: those of the shares, or for other scores the effective ones."""
        return effective_freedom(self.left_out_g) if self.shares is None else self.shares.freedom

    def interval(self, level: float) -> Interval:
        """Return the interval: by the logits of the shares, or for other scores that of the resamples.

        With too few groups there is none (see `too_few_groups`). It holds the estimate, also where the shares are
        drawn together, as those of objects (see `Draws.objects`).
        """
        if too_few_groups(len(self.left_out_g)):
            return Interval(math.nan, math.nan)
        if self.shares is not None:
            found = self.shares.interval(level)
            return Interval(min(found.low, self.estimate), max(found.high, self.estimate))
        return interval(self.samples_b, level, left_out_g=self.left_out_g)

    def p_value(self) -> float:
        """Return the two-sided p-value of a difference of shares, such as IoU; NaN without an interval.

        ``p < 0.05`` exactly if the interval of 95 % does not hold zero.
        """
        if self.shares is None or too_few_groups(len(self.left_out_g)):
            return math.nan
        p = self.shares.p_value()
        return p if math.isnan(p) or self.shares.centre * self.estimate > 0 else 1.0

    def comparison(self, *, level: float = 0.95, higher_is_better: bool = True) -> Comparison:
        """Return the difference with its interval, and the share of resamples in which the first system is better.

        A tie counts as half. NaN samples are left out.

        Args:
            level: probability of the interval; see `interval`.
            higher_is_better: False for losses, of which a negative difference is better.

        Raises:
            EnsError: the level is not between 0 and 1.

        >>> PairedDifference(0.1, np.array([0.1, -0.1, 0.3, 0.0]), np.array([0.1, 0.2, 0.1])).comparison().covers_zero
        True
        """
        limits = self.interval(level)
        kept_b = self.samples_b[~np.isnan(self.samples_b)] * (1 if higher_is_better else -1)
        share = float(((kept_b > 0) + 0.5 * (kept_b == 0)).mean()) if kept_b.size else math.nan
        return Comparison(self.estimate, limits.low, limits.high, share, self._few_groups)

    @property
    def _few_groups(self) -> bool:
        holders_k = () if self.shares is None else self.shares.one.holders_k
        return len(holders_k) == 1 and few_hold(int(holders_k[0]), len(self.left_out_g))


@dataclass(frozen=True, eq=False)
class SampledScores:
    """Scores of one system on the images and groups of some `Draws`; the last axis holds one or more scores.

    Attributes:
        whole_c: scores on all images.
        samples_bc: scores in each resample.
        left_out_gc: scores with each group left out.
        shares_c: for each score the scores between 0 and 1 that it is the mean of, or None if it is no such mean.
    """

    whole_c: Floats
    samples_bc: Floats
    left_out_gc: Floats
    shares_c: tuple[Shares | None, ...]

    def column(self, column: int) -> SampledScores:
        """Return one of the scores, as a view."""
        one = slice(column, column + 1)
        return SampledScores(self.whole_c[one], self.samples_bc[:, one], self.left_out_gc[:, one], self.shares_c[one])

    def minus(self, other: SampledScores, column: int = 0) -> PairedDifference:
        """Return the difference to another system, scored on the same draws, in one of the scores.

        Raises:
            EnsError: the other system was scored on other draws, as far as their numbers show it.
        """
        shapes = [(len(scores.samples_bc), len(scores.left_out_gc)) for scores in (self, other)]
        if shapes[0] != shapes[1]:
            raise EnsError(
                f"expected both systems scored on the same draws, got {shapes[0]} and {shapes[1]} resamples and groups;"
                " use one Draws for both"
            )
        mine, theirs = self.shares_c[column], other.shares_c[column]
        return PairedDifference(
            float(self.whole_c[column] - other.whole_c[column]),
            self.samples_bc[:, column] - other.samples_bc[:, column],
            self.left_out_gc[:, column] - other.left_out_gc[:, column],
            None if mine is None or theirs is None else ShareDifference(mine, theirs),
        )

    def compare(self, other: SampledScores, *, level: float = 0.95) -> list[Comparison]:
        """Compare with another system in every score; see `PairedDifference.comparison`."""
        return [self.minus(other, column).comparison(level=level) for column in range(len(self.whole_c))]


@dataclass(frozen=True, eq=False)
class Draws:
    """Resamples of image groups that all compared systems share, and the groups with each one left out.

    Systems are scored one by one, so that memory holds the sums of one system and the scores of those that are kept.
    """

    resamples: Bootstrap
    left_out: Bootstrap

    @classmethod
    def of(cls, groups_n: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0) -> Draws:
        """Draw the resamples for images that belong to the groups ``groups_n``, one name per image.

        Raises:
            EnsError: fewer than two groups, or fewer than one resample.
        """
        drawn = Bootstrap.draw(groups_n, resamples=resamples, seed=seed)
        return cls(drawn, drawn.leave_one_out)

    def scores(
        self, score: Callable[[Total], Floats], shares_c: Sequence[Shares | None] | None = None
    ) -> SampledScores:
        """Score a system by a function of sums over its images.

        Args:
            score: a function that receives `Total`, applies it to per-image values and returns scores (..., c).
            shares_c: for each score what it is the mean of, from `shares`; by default none is such a mean.
        """
        whole_c = score(_whole)
        known_c = (None,) * len(whole_c) if shares_c is None else tuple(shares_c)
        return SampledScores(whole_c, score(self.resamples.totals), score(self.left_out.totals), known_c)

    def shares(self, score: Callable[[Total], Floats], holds_nk: NDArray[np.bool_]) -> Shares:
        """Score a system by a function whose scores lie between 0 and 1, for the intervals of differences.

        Args:
            score: a function that receives `Total`, applies it to per-image values and returns scores (..., k).
            holds_nk: whether each image holds what each score is about, such as a pixel of the class.
        """
        return Shares(score(_whole), score(self.left_out.totals), self._groups_with(holds_nk))

    def iou(self, confusions_nkp: Counts, common_k: NDArray[np.bool_] | None = None) -> SampledScores:
        """Score a system by the mean IoU (column 0) and the IoU of each class (columns 1 to k).

        The mean of all images, of each resample, and without each group is over the classes in the truth of exactly
        these images. The truth is the same for all systems, and so are the classes.

        Args:
            confusions_nkp: confusion matrix of each image, (n, k, p) with p >= k.
            common_k: classes whose mean IoU is one more score, the last one.

        Raises:
            EnsError: not one matrix per image of these draws, or not (k, p) with p >= k.
        """
        counts_n3k = class_counts(confusions_nkp)
        each = self.shares(lambda total: iou_of(total(counts_n3k)), counts_n3k[:, 2] > 0)
        shares_c = (each, *map(each.only, range(len(each.whole_k))))
        if common_k is None:
            return self.scores(lambda total: with_mean(iou_of(total(counts_n3k))), shares_c)
        shares_c = (*shares_c, each.of(np.flatnonzero(common_k)))
        return self.scores(lambda total: with_mean_of(iou_of(total(counts_n3k)), common_k), shares_c)

    def objects(self, counts_nk4: NDArray[np.int64]) -> SampledScores:
        """Score a system by the F1 of its objects: the mean over the classes (column 0), and each class.

        The intervals of differences rest on scores with a few objects more (see `ADDED`), and are `Shares.bounded`.
        Their freedom counts the groups in which a system finds an object: where few are found, the others are all 0.

        Args:
            counts_nk4: counts of objects of each image and class, of all sizes together, from `object_counts`.

        Raises:
            EnsError: not one row per image of these draws.
        """
        each = self.shares(lambda total: object_f1(total(counts_nk4), ADDED), counts_nk4[..., 3] > 0)
        each = replace(each, found_k=self._groups_with(counts_nk4[..., 2] > 0), bounded=True)
        shares_c = (each, *map(each.only, range(len(each.whole_k))))
        return self.scores(lambda total: with_mean(object_f1(total(counts_nk4))), shares_c)

    def _groups_with(self, holds_nk: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the number of groups (k,) with an image that holds each thing."""
        rows, places = np.nonzero(holds_nk)
        held_gk = np.zeros((len(self.left_out.names), holds_nk.shape[1]), bool)
        held_gk[self.left_out.codes_n[rows], places] = True
        return held_gk.sum(0)


def _whole(values_n: NDArray[Any]) -> NDArray[Any]:
    """Add up the values of all images."""
    return values_n.sum(axis=0)
