"""Group bootstrap: how far a score would move with other images of the same kind.

Images of one scene resemble each other, so whole groups are drawn with replacement, never single images. The draws are
made once; every system is scored on the same draws, which makes differences of two systems paired.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.errors import EnsError
from ensemble.evaluation.confusion import Counts, Floats, divide_or_nan, intersection_and_union, mean_present

_CHUNK = 2**18  # weights converted to float64 at a time: 2 MB, which stays in the cache


def _codes(groups_n: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Sorted names of the groups, and for each image the place of its group among them."""
    names, codes_n = np.unique(np.asarray(groups_n, dtype=np.str_), return_inverse=True)
    return tuple(str(name) for name in names), codes_n.astype(np.intp)


def _sum_by_code(values_n: NDArray[Any], codes_n: NDArray[np.intp]) -> NDArray[Any]:
    if len(values_n) != len(codes_n) or len(codes_n) == 0:
        raise EnsError(f"expected a group name for each image, got {len(codes_n)} names for {len(values_n)} images")
    order = np.argsort(codes_n, kind="stable")
    starts = np.flatnonzero(np.diff(codes_n[order], prepend=-1))
    dtype = np.float64 if np.issubdtype(values_n.dtype, np.floating) else np.int64
    return np.add.reduceat(values_n[order], starts, axis=0, dtype=dtype)


def sum_by_group(values_n: NDArray[Any], groups_n: Sequence[str]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Add up what belongs to the images of each group.

    Args:
        values_n: (n, ...) numbers per image, for example confusion matrices.
        groups_n: n names of groups.

    Returns:
        (g, ...) sums, int64 or float64, and the g names in sorted order.

    Raises:
        EnsError: no image, or not one name per image.

    >>> sums, names = sum_by_group(np.array([1, 2, 4]), ["b", "a", "b"])
    >>> sums.tolist(), names
    ([2, 5], ('a', 'b'))
    """
    names, codes_n = _codes(groups_n)
    return _sum_by_code(values_n, codes_n), names


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Resamples of image groups, drawn once by `draw` and shared by all systems that are compared.

    A resample draws as many groups as there are, with replacement, so ``counts_bg[b]`` is multinomial. A score is a
    function of sums over images, and those of all resamples are one product ``counts (b, g) @ sums (g, ...)``.
    With fewer than about twenty groups the intervals are too narrow.

    Reference:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval);
        Field and Welsh, Bootstrapping Clustered Data, 2007, section 2.3 (groups drawn whole).

    >>> resamples = Bootstrap.draw(["a", "a", "b", "c"], resamples=1000)
    >>> confusions = np.array([[[9, 1], [0, 5]], [[8, 2], [1, 5]], [[4, 4], [0, 3]], [[6, 0], [1, 7]]])
    >>> interval(resamples.mean_iou(confusions)).low > 0.4
    True
    """

    names: tuple[str, ...]
    codes_n: NDArray[np.intp]
    counts_bg: NDArray[np.unsignedinteger[Any]]

    @classmethod
    def draw(cls, groups_n: Sequence[str], *, resamples: int = 10_000, seed: int = 0) -> Bootstrap:
        """Draw the resamples for images that belong to the groups ``groups_n``, one name per image.

        Raises:
            EnsError: fewer than two groups, or fewer than one resample.
        """
        names, codes_n = _codes(groups_n)
        size = len(names)
        if size < 2:
            raise EnsError(f"expected at least 2 groups of images to resample, got {size}; give groups that are finer")
        if resamples < 1:
            raise EnsError(f"expected at least 1 resample, got {resamples}")
        generator = np.random.default_rng(seed)
        # No count can exceed the number of groups; small integers keep 10,000 x 2,500 counts in 50 MB, not 200.
        counts_bg = np.empty((resamples, size), dtype=np.min_scalar_type(size))
        for rows in _chunks(resamples, size):
            drawn = generator.integers(size, size=(rows.stop - rows.start, size))
            drawn += np.arange(len(drawn))[:, None] * size
            counts_bg[rows] = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        return cls(names, codes_n, counts_bg)

    def totals(self, values_n: NDArray[Any]) -> Floats:
        """Sums of per-image values over every resample, for any score that is a function of such sums.

        Args:
            values_n: (n, ...) finite numbers per image.

        Returns:
            (b, ...) float64, exact for pixel counts.

        Raises:
            EnsError: not one value per image of this bootstrap, or values that are not finite.
        """
        if not np.isfinite(values_n).all():
            raise EnsError("expected finite values per image, got NaN or infinity; pass sums and counts, not means")
        sums_g = _sum_by_code(values_n, self.codes_n).astype(np.float64)
        sums_gv = sums_g.reshape(len(sums_g), -1)
        totals_bv = np.empty((len(self.counts_bg), sums_gv.shape[1]))
        for rows in _chunks(*self.counts_bg.shape):
            np.matmul(self.counts_bg[rows].astype(np.float64), sums_gv, out=totals_bv[rows])
        return totals_bv.reshape(-1, *sums_g.shape[1:])

    def iou(self, confusions_nkp: Counts) -> Floats:
        """IoU per class of every resample, from confusion matrices (n, ..., k, p) to (b, ..., k).

        Systems may be stacked on an axis behind the images: (n, systems, k, p) gives (b, systems, k) in one product.
        NaN where a resample holds a class neither in truth nor in prediction.

        Raises:
            EnsError: not one matrix per image of this bootstrap, or not (k, p) with p >= k.
        """
        totals = self.totals(np.stack(intersection_and_union(confusions_nkp), axis=1))
        return divide_or_nan(totals[:, 0], totals[:, 1])

    def mean_iou(self, confusions_nkp: Counts) -> Floats:
        """Mean IoU of every resample, from confusion matrices (n, ..., k, p) to (b, ...); see `iou`."""
        return mean_present(self.iou(confusions_nkp))

    def ratio(self, numerators_n: NDArray[Any], denominators_n: NDArray[Any]) -> Floats:
        """Ratio of two sums in every resample, such as log-loss sums over labelled pixels: (n, ...) to (b, ...).

        NaN where the denominator's sum is not positive.

        Raises:
            EnsError: not one value per image of this bootstrap, or values that are not finite.
        """
        return divide_or_nan(self.totals(numerators_n), self.totals(denominators_n))


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _CHUNK // columns)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


@dataclass(frozen=True)
class Interval:
    """Limits between which a share ``level`` of the resamples lie."""

    low: float
    high: float


def interval(samples_b: Floats, level: float = 0.95) -> Interval:
    """Percentile interval: the ``(1 - level) / 2`` and ``(1 + level) / 2`` quantiles of the resamples.

    Args:
        samples_b: a score in each resample; NaN is left out.
        level: share of the resamples inside, between 0 and 1.

    Returns:
        The limits; both NaN where no resample has the score.

    Raises:
        EnsError: more than one axis, or a level that is not between 0 and 1.

    >>> interval(np.arange(101.0), level=0.5)
    Interval(low=25.0, high=75.0)
    """
    if samples_b.ndim != 1:
        raise EnsError(f"expected one score per resample, got shape {samples_b.shape}; pass one system and class")
    if not 0 < level < 1:
        raise EnsError(f"expected a level between 0 and 1, got {level}; 95 % is 0.95")
    kept = samples_b[~np.isnan(samples_b)]
    if not kept.size:
        return Interval(math.nan, math.nan)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """Paired difference of two systems: the estimate, its interval, and how often the first one was better."""

    difference: float
    low: float
    high: float
    probability_of_improvement: float

    @property
    def covers_zero(self) -> bool:
        """True where the data do not tell the systems apart, also where there is nothing to tell."""
        return not (self.low > 0 or self.high < 0)


def compare(
    a_b: Floats, b_b: Floats, estimate: float, *, level: float = 0.95, higher_is_better: bool = True
) -> Comparison:
    """Compare system a with system b, scored on the same resamples of one `Bootstrap`.

    Args:
        a_b: score of the first system in each resample.
        b_b: score of the second system in the same resamples.
        estimate: difference a - b on the images themselves; resamples give its spread, not its value.
        level: share of the resamples inside the interval.
        higher_is_better: False for losses: "better" is then a negative difference.

    Returns:
        The difference with its percentile interval, and the share of resamples where a is better (ties count half).

    Raises:
        EnsError: the two were not scored on the same number of resamples, or the level is not between 0 and 1.

    >>> compare(np.array([0.6, 0.7, 0.8]), np.array([0.5, 0.5, 0.9]), estimate=0.07).covers_zero
    True
    """
    if a_b.shape != b_b.shape:
        raise EnsError(
            f"expected both systems scored on the same resamples, got shapes {a_b.shape} and {b_b.shape}; "
            "use one Bootstrap for both"
        )
    delta_b = a_b - b_b
    limits = interval(delta_b, level)
    kept = delta_b[~np.isnan(delta_b)] * (1 if higher_is_better else -1)
    share = float(((kept > 0) + 0.5 * (kept == 0)).mean()) if kept.size else math.nan
    return Comparison(float(estimate), limits.low, limits.high, share)
