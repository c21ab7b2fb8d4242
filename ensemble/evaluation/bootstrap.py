"""Group bootstrap: how far a score would move with other images of the same kind.

Images of one scene resemble each other, so whole groups are drawn with replacement, never single images. The draws are
made once; every system is scored on the same draws, which makes differences of two systems paired.

A few groups often carry most of a score: large ones, or those that hold a rare class. The plain percentile interval is
then too narrow, so `interval` widens it as Student's t widens the normal: by the effective number of groups, read off
the scores with each group left out. Measured false alarms at 5 %: ``experiments/benchmarks/verdict_rates.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
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

    Reference:
        Field and Welsh, Bootstrapping Clustered Data, 2007, section 2.3 (groups drawn whole).

    >>> resamples = Bootstrap.draw(["a", "a", "b", "c"], resamples=1000)
    >>> confusions = np.array([[[9, 1], [0, 5]], [[8, 2], [1, 5]], [[4, 4], [0, 3]], [[6, 0], [1, 7]]])
    >>> left_out_g = resamples.leave_one_out.mean_iou(confusions)
    >>> interval(resamples.mean_iou(confusions), left_out_g=left_out_g).low > 0.4
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

    @property
    def leave_one_out(self) -> Bootstrap:
        """The same groups, each left out once instead of drawn: its scores are the ``left_out_g`` of `interval`."""
        return Bootstrap(self.names, self.codes_n, 1 - np.eye(len(self.names), dtype=np.uint8))

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


def effective_freedom(left_out_g: Floats) -> float:
    """Degrees of freedom of a spread that is measured on few or unequal groups.

    ``3 (sum_g d_g^2)^2 / sum_g d_g^4 - 2`` kept between 1 and g - 1, where d_g is the change of the score when group g
    is left out. These are Satterthwaite's ``(sum v_g)^2 / sum v_g^2`` for changes of variances v_g, with both sums
    estimated without bias for normal changes (``E d^2 = v``, ``E d^4 = 3 v^2``). About g for many groups of equal
    weight, near 1 where one of many decides.

    Args:
        left_out_g: the score with each group left out, from `Bootstrap.leave_one_out`.

    Returns:
        Degrees of freedom; 1 too where the score vanishes (NaN) without one of the groups.

    Reference:
        Johnson and Rust, Population Inferences and Variance Estimation for NAEP Data, 1992 (for the jackknife);
        von Davier, A Modified Satterthwaite Effective Degrees of Freedom Approximation, 2024 (without bias).

    >>> effective_freedom(np.array([0.1, 0.2, 0.2, 0.3, 0.2]))
    4.0
    >>> round(effective_freedom(np.eye(50)[0]), 1)  # one group of fifty decides
    1.1
    """
    if np.isnan(left_out_g).any():
        return 1.0
    squares_g = (left_out_g - left_out_g.mean()) ** 2
    if not squares_g.any():
        return float(len(left_out_g) - 1)
    squares_g /= squares_g.max()  # fourth powers of tiny changes would vanish
    freedom = 3 * squares_g.sum() ** 2 / (squares_g**2).sum() - 2
    return float(np.clip(freedom, 1, len(left_out_g) - 1))


@dataclass(frozen=True)
class Interval:
    """Limits between which a score lies with a probability of ``level``, by the resamples."""

    low: float
    high: float


def interval(samples_b: Floats, level: float = 0.95, *, left_out_g: Floats | None = None) -> Interval:
    """Percentile interval of the resamples, widened for the number of groups that decide the score.

    The limits are the quantiles ``Phi(-z)`` and ``Phi(z)`` of the resamples with ``z = sqrt(g / (g - 1)) t``, t the
    ``(1 + level) / 2`` quantile of Student's t at `effective_freedom` degrees: for a mean of g alike groups the
    classical t interval, for unlike ones a wider one.

    Args:
        samples_b: a score in each resample; NaN is left out.
        level: probability between 0 and 1.
        left_out_g: the same score with each group left out, from `Bootstrap.leave_one_out`. Without it the plain
            percentile interval (z the normal quantile), which suits units that are many and alike only.

    Returns:
        The limits; both NaN where no resample has the score.

    Raises:
        EnsError: more than one axis, or a level that is not between 0 and 1.

    Reference:
        Hesterberg, What Teachers Should Know About the Bootstrap, 2015 (expanded percentile interval).

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
    share = (1 + level) / 2 if left_out_g is None else _expanded(level, left_out_g)
    low, high = np.quantile(kept, [1 - share, share])
    return Interval(float(low), float(high))


def _expanded(level: float, left_out_g: Floats) -> float:
    """Share of the resamples below the upper limit."""
    from scipy.special import stdtrit  # noqa: PLC0415  (importing ensemble.evaluation needs NumPy only)

    if left_out_g.ndim != 1 or len(left_out_g) < 2:
        raise EnsError(f"expected the score with each of at least 2 groups left out, got shape {left_out_g.shape}")
    student = float(stdtrit(effective_freedom(left_out_g), (1 + level) / 2))
    return NormalDist().cdf(student * math.sqrt(len(left_out_g) / (len(left_out_g) - 1)))


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
    a_b: Floats,
    b_b: Floats,
    estimate: float,
    *,
    left_out_g: Floats | None = None,
    level: float = 0.95,
    higher_is_better: bool = True,
) -> Comparison:
    """Compare system a with system b, scored on the same resamples of one `Bootstrap`.

    Args:
        a_b: score of the first system in each resample.
        b_b: score of the second system in the same resamples.
        estimate: difference a - b on the images themselves; resamples give its spread, not its value.
        left_out_g: difference a - b with each group left out; see `interval`.
        level: probability of the interval.
        higher_is_better: False for losses: "better" is then a negative difference.

    Returns:
        The difference with its interval, and the share of resamples where a is better (ties count half).

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
    limits = interval(delta_b, level, left_out_g=left_out_g)
    kept = delta_b[~np.isnan(delta_b)] * (1 if higher_is_better else -1)
    share = float(((kept > 0) + 0.5 * (kept == 0)).mean()) if kept.size else math.nan
    return Comparison(float(estimate), limits.low, limits.high, share)
