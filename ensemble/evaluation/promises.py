r"""Promises about images of new groups: which errors remain, and which true classes are missed.

A promise is a threshold. It is chosen on groups of images that nothing was fitted on, and the group is what is
exchangeable: the pixels of a group help each other, so no number of them replaces a second group. With
:math:`e_g(t)` what group g has in excess of the promise at the threshold t, the next group is taken to be as bad as
the worst of the G groups seen:

.. math:: \sum_g e_g(t) + \max_g e_g(t) \le 0

This is conformal risk control with the largest loss seen in the place of the largest loss possible. That one makes
the promise true for any next group, but the price are 99 % instead of the 90 % that were asked for on ten groups; this
one keeps it on average for groups like those seen (measured: ``experiments/benchmarks/promises.py``).

Reference:
    Angelopoulos, Bates, Fisch, Lei and Schuster, Conformal Risk Control, 2022; Dunn, Wasserman and Ramdas,
    Distribution-Free Prediction Sets for Two-Layer Hierarchical Models, 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.caveats import ENOUGH_GROUPS
from ensemble.evaluation.confusion import Counts, Floats

BINS = 512
ROUNDING = 1e-9  # pixels or groups

NEAR_ONE = (1 - np.linspace(1, 0, BINS) ** 2).astype(np.float32)
"""Thresholds of a confidence, ascending from 0 to 1: they are close together near 1, where most confidences are."""

NEAR_ZERO = (np.linspace(0, 1, BINS) ** 2).astype(np.float32)
"""Thresholds of the probability of a class, ascending from 0 to 1: close together near 0, for rare classes."""


@dataclass
class GroupCounts:
    """Count the pixels of each group that reach each of many thresholds, in bounded memory.

    Args:
        thresholds_t: ascending; the first is at most the smallest value.

    >>> counts = GroupCounts(np.array([0.0, 0.5, 1.0], np.float32))
    >>> counts.add(7, np.array([0.2, 0.5, 0.9], np.float32))
    >>> counts.reaching([7, 8]).tolist()
    [[3, 2, 0], [0, 0, 0]]
    """

    thresholds_t: NDArray[np.float32]
    _bins: dict[int, Counts] = field(default_factory=dict[int, Counts])

    def add(self, group: int, values_p: NDArray[np.float32]) -> None:
        """Add pixels of a group."""
        if values_p.size:
            place_p = np.searchsorted(self.thresholds_t, values_p, side="right") - 1
            counts = np.bincount(place_p, minlength=len(self.thresholds_t))
            self._bins[group] = self._bins[group] + counts if group in self._bins else counts

    @classmethod
    def of_counts(cls, thresholds_t: NDArray[np.float32], counts_gt: Counts) -> GroupCounts:
        """Return what has these counts of pixels between two thresholds, a row per group, see `counts`."""
        return cls(thresholds_t, {group: counts_t for group, counts_t in enumerate(counts_gt) if counts_t.any()})

    def counts(self, groups: int) -> Counts:
        """Return how many pixels of each of the groups 0, 1 ... lie between two thresholds (groups, thresholds)."""
        found_gt = np.zeros((groups, len(self.thresholds_t)), np.int64)
        for group, counts_t in self._bins.items():
            found_gt[group] = counts_t
        return found_gt

    def of(self, groups: Iterable[int]) -> GroupCounts:
        """Return the counts of some groups."""
        return GroupCounts(self.thresholds_t, {group: self._bins[group] for group in groups if group in self._bins})

    @property
    def groups(self) -> list[int]:
        """The groups that have pixels, in ascending order."""
        return sorted(self._bins)

    def reaching(self, groups: list[int]) -> Counts:
        """Return how many pixels of each group are at least each threshold (groups, thresholds)."""
        none = np.zeros(len(self.thresholds_t), np.int64)
        counts_gt = np.array([self._bins.get(group, none) for group in groups]).reshape(-1, len(none))
        return counts_gt[:, ::-1].cumsum(1)[:, ::-1]


def holds(excess_gt: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each threshold whether a promise holds for a next group that is as bad as the worst one seen.

    Args:
        excess_gt: what each group has in excess of the promise, above 0 where it breaks it (groups, thresholds).

    >>> holds(np.array([[-1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]])).tolist()
    [True, True]
    >>> holds(np.array([[-1.0, 2.0], [-1.0, -1.0], [-1.0, -1.0]])).tolist()
    [True, False]
    """
    return excess_gt.sum(0) + excess_gt.max(0) <= ROUNDING


@dataclass(frozen=True)
class Abstention:
    """A threshold below which a pixel gets no class, so that a promised share of the others is wrong.

    Attributes:
        threshold: smallest confidence of a pixel that is kept; None if no promise is possible.
        error: the promise: at most this share of the kept pixels is wrong, on average over new groups.
        kept: share of the labelled pixels seen that are kept.
        wrong: share of these that are wrong.
        groups: number of groups seen.
    """

    threshold: float | None
    error: float
    kept: float
    wrong: float
    groups: int


def abstain(right: GroupCounts, wrong: GroupCounts, error: float) -> Abstention:
    r"""Return the smallest threshold with which at most a share ``error`` of the kept pixels is wrong.

    The excess of a group is :math:`e_g(t) = w_g(t) - \mathrm{error}\, k_g(t)` with the wrong ones :math:`w_g` among its
    :math:`k_g` kept pixels. So a pixel counts the same in every group, and a group as many times as it has pixels.

    Args:
        right: confidences of the pixels that are right, by group.
        wrong: those of the pixels that are wrong.
        error: the promise, between 0 and 1.

    >>> right, wrong = GroupCounts(NEAR_ONE), GroupCounts(NEAR_ONE)
    >>> for group in range(10):
    ...     right.add(group, np.array([0.9] * 19 + [0.4], np.float32))
    ...     wrong.add(group, np.array([0.9] + [0.4] * 3, np.float32))
    >>> found = abstain(right, wrong, 0.05)
    >>> 0.4 < found.threshold < 0.9, round(found.kept, 3), found.wrong
    (True, 0.833, 0.05)
    """
    groups = sorted({*right.groups, *wrong.groups})
    kept_gt, wrong_gt = _kept_and_wrong(right, wrong, groups)
    seen_t = (kept_gt > 0).sum(0) >= ENOUGH_GROUPS
    if not seen_t.any() or not (fine_t := seen_t & holds(wrong_gt - error * kept_gt)).any():
        return Abstention(None, error, 0.0, math.nan, len(groups))
    place = int(fine_t.argmax())
    kept_t, wrong_t = kept_gt.sum(0), wrong_gt.sum(0)
    share, among = float(kept_t[place] / kept_t[0]), float(wrong_t[place] / kept_t[place])
    return Abstention(float(right.thresholds_t[place]), error, share, among, len(groups))


def shares_kept(right: GroupCounts, wrong: GroupCounts, errors: Floats) -> Floats:
    """Return the share of the pixels that is kept with each promised error; NaN where no promise is possible."""
    each = [abstain(right, wrong, float(error)) for error in errors]
    return np.array([math.nan if one.threshold is None else one.kept for one in each])


def error_by_share(right: GroupCounts, wrong: GroupCounts) -> tuple[Floats, Floats]:
    """Return the share of the pixels that each threshold keeps, ascending up to 1, and the share of wrong ones in it.

    Both are those of the groups seen; nothing is promised.
    """
    kept_gt, wrong_gt = _kept_and_wrong(right, wrong, sorted({*right.groups, *wrong.groups}))
    kept_t, wrong_t = kept_gt.sum(0)[::-1], wrong_gt.sum(0)[::-1]
    some = kept_t > 0
    return kept_t[some] / kept_t[-1], wrong_t[some] / kept_t[some]


def _kept_and_wrong(right: GroupCounts, wrong: GroupCounts, groups: list[int]) -> tuple[Counts, Counts]:
    wrong_gt = wrong.reaching(groups)
    return right.reaching(groups) + wrong_gt, wrong_gt


@dataclass(frozen=True)
class ClassCoverage:
    """A threshold above which a class belongs to the set of a pixel.

    Attributes:
        threshold: smallest probability of the class; None if no promise is possible.
        groups: number of groups that hold the class.
    """

    threshold: float | None
    groups: int


def fewest_groups(coverage: float) -> int:
    """Return the number of groups that a promise of coverage takes: one in G + 1 groups may be missed as a whole.

    >>> fewest_groups(0.9), fewest_groups(0.99)
    (10, 99)
    """
    return max(ENOUGH_GROUPS, math.ceil(1 / (1 - coverage) - 1 - ROUNDING))


def cover(true: GroupCounts, coverage: float) -> ClassCoverage:
    r"""Return the largest threshold that a share ``coverage`` of the pixels of a class reaches, on average over groups.

    The excess of a group is :math:`e_g(t) = m_g(t) - (1 - \mathrm{coverage})` with the share :math:`m_g` of its pixels
    of the class that are missed. So every group that holds the class counts the same.

    Args:
        true: probability of the class at the pixels that are of this class, by group.
        coverage: the promise, between 0 and 1.

    >>> true = GroupCounts(NEAR_ZERO)
    >>> for group in range(10):
    ...     true.add(group, np.array([0.1] + [0.8] * 9, np.float32))
    >>> cover(true, 0.9), cover(true, 0.95).threshold
    (ClassCoverage(threshold=0.799..., groups=10), None)
    """
    groups = true.groups
    if len(groups) < fewest_groups(coverage):
        return ClassCoverage(None, len(groups))
    reaching_gt = true.reaching(groups)
    missed_gt = 1 - reaching_gt / reaching_gt[:, :1]
    place = int(np.flatnonzero(holds(missed_gt - (1 - coverage)))[-1])
    return ClassCoverage(float(true.thresholds_t[place]), len(groups))
