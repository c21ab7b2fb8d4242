"""Is system A better than system B? Score systems on the same resamples of image groups, and compare them in pairs.

Every comparison of this package is made here, in three steps: draw once, score each system, subtract.

>>> draws = Draws.of(["a", "a", "b", "c"], resamples=1000)
>>> better = np.array([[[9, 1], [0, 5]], [[8, 2], [1, 5]], [[7, 1], [0, 3]], [[6, 0], [1, 7]]])
>>> worse = np.array([[[5, 5], [2, 3]], [[5, 5], [3, 3]], [[3, 5], [1, 2]], [[3, 3], [4, 4]]])
>>> found = draws.iou(better).minus(draws.iou(worse)).comparison()
>>> round(found.difference, 2), found.covers_zero
(0.47, False)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.confusion import Counts, Floats, divide_or_nan, intersection_and_union, with_mean
from ensemble.evaluation.intervals import interval

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

    @property
    def covers_zero(self) -> bool:
        """Whether the data do not show which system is better; True also if there are no data to compare."""
        return not (self.low > 0 or self.high < 0)


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """Score of one system minus that of another, on the same images.

    Attributes:
        estimate: the difference on all images; resamples give its spread, not its value.
        samples_b: the difference in each resample; NaN if a resample does not have the score.
        left_out_g: the difference with each group left out.
    """

    estimate: float
    samples_b: Floats
    left_out_g: Floats

    def comparison(self, *, level: float = 0.95, higher_is_better: bool = True) -> Comparison:
        """Return the difference with its interval, and the share of resamples in which the first system is better.

        A tie counts as half. NaN samples are left out.

        Args:
            level: probability of the interval; see `ensemble.evaluation.intervals.interval`.
            higher_is_better: False for losses, of which a negative difference is better.

        Raises:
            EnsError: the level is not between 0 and 1.

        >>> PairedDifference(0.1, np.array([0.1, -0.1, 0.3, 0.0]), np.array([0.1, 0.2, 0.1])).comparison().covers_zero
        True
        """
        limits = interval(self.samples_b, level, left_out_g=self.left_out_g)
        kept_b = self.samples_b[~np.isnan(self.samples_b)] * (1 if higher_is_better else -1)
        share = float(((kept_b > 0) + 0.5 * (kept_b == 0)).mean()) if kept_b.size else math.nan
        return Comparison(self.estimate, limits.low, limits.high, share)


@dataclass(frozen=True, eq=False)
class SampledScores:
    """Scores of one system on the images and groups of some `Draws`; the last axis holds one or more scores.

    Attributes:
        whole_c: scores on all images.
        samples_bc: scores in each resample.
        left_out_gc: scores with each group left out.
    """

    whole_c: Floats
    samples_bc: Floats
    left_out_gc: Floats

    def column(self, column: int) -> SampledScores:
        """Return one of the scores, as a view."""
        one = slice(column, column + 1)
        return SampledScores(self.whole_c[one], self.samples_bc[:, one], self.left_out_gc[:, one])

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
        return PairedDifference(
            float(self.whole_c[column] - other.whole_c[column]),
            self.samples_bc[:, column] - other.samples_bc[:, column],
            self.left_out_gc[:, column] - other.left_out_gc[:, column],
        )

    def compare(self, other: SampledScores) -> list[Comparison]:
        """Compare with another system in every score; see `PairedDifference.comparison`."""
        return [self.minus(other, column).comparison() for column in range(len(self.whole_c))]


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

    def scores(self, score: Callable[[Total], Floats]) -> SampledScores:
        """Score a system by a function of sums over its images.

        Args:
            score: a function that receives `Total`, applies it to per-image values and returns scores (..., c).
        """
        return SampledScores(
            score(lambda values_n: values_n.sum(axis=0)), score(self.resamples.totals), score(self.left_out.totals)
        )

    def iou(self, confusions_nkp: Counts) -> SampledScores:
        """Score a system by the mean IoU (column 0) and the IoU of each class (columns 1 to k).

        Args:
            confusions_nkp: confusion matrix of each image, (n, k, p) with p >= k.

        Raises:
            EnsError: not one matrix per image of these draws, or not (k, p) with p >= k.
        """
        counts_n2k = np.stack(intersection_and_union(confusions_nkp), axis=1)

        def score(total: Total) -> Floats:
            counts_2k = total(counts_n2k)
            return with_mean(divide_or_nan(counts_2k[..., 0, :], counts_2k[..., 1, :]))

        return self.scores(score)
