"""Estimate how far a score would move with other images of the same kind, by a bootstrap of image groups.

Images of one scene resemble each other, so whole groups are drawn with replacement, never single images. The draws are
made once; every system is scored on the same draws, which makes differences of two systems paired.

Intervals from the resamples are in ``intervals``, comparisons in ``paired``, and intervals of IoU and similar scores in
``proportion_intervals``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import Counts, Floats, class_counts, divide_or_nan, iou_of, mean_present

_CHUNK = 2**18  # weights converted to float64 at a time: 2 MB, which stays in the cache


def _codes(groups_n: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Return the sorted names of the groups, and the position of its group for each image."""
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
    """Add up the values of the images of each group.

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
    >>> from ensemble.evaluation.intervals import interval
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
            raise EnsError(f"expected at least 2 groups of images to resample, got {size}; use finer groups")
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
        """The same groups with each one left out once; its scores are the ``left_out_g`` of every interval."""
        return Bootstrap(self.names, self.codes_n, 1 - np.eye(len(self.names), dtype=np.uint8))

    def totals(self, values_n: NDArray[Any]) -> Floats:
        """Add up per-image values over every resample, for any score that is a function of such sums.

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
        """Return the IoU per class of every resample, from confusion matrices (n, ..., k, p) to (b, ..., k).

        Systems may be stacked on an axis behind the images: (n, systems, k, p) gives (b, systems, k) in one product.
        It is NaN if the truth of a resample does not hold the class, whatever a system predicts.

        Raises:
            EnsError: not one matrix per image of this bootstrap, or not (k, p) with p >= k.
        """
        return iou_of(self.totals(class_counts(confusions_nkp)))

    def mean_iou(self, confusions_nkp: Counts) -> Floats:
        """Return the mean IoU of every resample, from confusion matrices (n, ..., k, p) to (b, ...); see `iou`."""
        return mean_present(self.iou(confusions_nkp))

    def ratio(self, numerators_n: NDArray[Any], denominators_n: NDArray[Any]) -> Floats:
        """Return the ratio of two sums in every resample, such as log-loss over labelled pixels: (n, ...) to (b, ...).

        It is NaN if the sum of the denominator is not positive.

        Raises:
            EnsError: not one value per image of this bootstrap, or values that are not finite.
        """
        return divide_or_nan(self.totals(numerators_n), self.totals(denominators_n))


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _CHUNK // columns)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
