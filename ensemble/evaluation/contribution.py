"""Measure the contribution of each member: leave-one-out and Shapley values of the mIoU, and dispensable members."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.caveats import too_few_groups
from ensemble.evaluation.coalitions import Coalitions
from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.intervals import interval

EXACT_MEMBERS = 12  # 4,096 subsets; with more members, about as many subsets are drawn
FEWEST_ROUNDS = 6
CHUNK = 256  # subsets whose resamples are held at once


@dataclass(frozen=True, eq=False)
class Estimates:
    """Numbers (rows, 1 + classes) for mIoU and each class with 95 % intervals over resampled blocks of images."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class Contributions:
    """Contributions of members to the uniform average of all, in mIoU and in IoU per class, as fractions of 1.

    Attributes:
        shapley: mean gain when a member joins those before it, over all orders of the members (rows: members).
        sampling_error: standard error of ``shapley`` if orders were drawn; 0 if all subsets were scored.
        leave_one_out: average of all minus average of all others (rows: members).
        everyone: mIoU and IoU per class of the average of all.
        nobody: the same of the empty subset; the Shapley values add up to ``everyone - nobody``.
        dropped: members in the order in which dropping costs least, chosen step by step; the last member stays.
        left: mIoU and IoU per class after each of these steps.
        change: ``left - everyone`` after each of these steps.
        subsets: number of subsets scored.
        reason: why there are no intervals, and nothing can be said about who could go: too few blocks; else empty.
    """

    shapley: Estimates
    sampling_error: Floats
    leave_one_out: Estimates
    everyone: Floats
    nobody: Floats
    dropped: tuple[int, ...]
    left: Floats
    change: Estimates
    subsets: int
    reason: str

    @property
    def spare(self) -> tuple[int, ...]:
        """Members that can be dropped together without a lower mIoU: the longest such beginning of ``dropped``.

        It is an estimate; if there is a ``reason``, nothing follows from it.
        """
        free = np.flatnonzero(self.change.value[:, 0] >= 0)
        return self.dropped[: int(free[-1]) + 1] if free.size else ()


def contributions(
    coalitions: Coalitions,
    *,
    resamples: int = 400,
    rounds: int | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Contributions:
    r"""Compute leave-one-out and Shapley values of every member, and the order in which members could be dropped.

    .. math:: \phi_i = \sum_{S \not\ni i} \frac{|S|!\,(M-|S|-1)!}{M!} \bigl(v(S \cup i) - v(S)\bigr)

    Here v(S) is the mIoU (or the IoU of a class) of the uniform average of S. Up to 12 members, the values are exact:
    all :math:`2^M` subsets are scored, in Gray-code order. With more members, they are means over drawn orders, with a
    standard error. Orders are drawn in rounds of M: a random order and its rotations. So every member joins once at
    every place, on which its gain depends most. All results are linear in v, and their intervals come from the same
    resamples of image blocks.

    Args:
        coalitions: scores of subsets.
        resamples: resamples of the blocks; with too few blocks (see `too_few_groups`) the limits are NaN.
        rounds: number of rounds of M orders to draw (default: all subsets are scored up to 12 members; with more, as
            many rounds as it takes to meet about 4,096 subsets).
        seed: seed of orders and resamples.
        progress: callback that receives the progress.

    Raises:
        EnsError: fewer than two members or two rounds.

    Reference:
        Shapley, A Value for n-Person Games, 1953; Castro, Gomez, Molina and Tejada, Improving Polynomial Estimation of
        the Shapley Value by Stratified Random Sampling, 2017 (here the strata are places); Rozemberczki
        and Sarkar, The Shapley Value of Classifiers in Ensemble Games, 2021.
    """
    members, full = coalitions.members, coalitions.full
    if members < 2:
        raise EnsError(f"expected at least two members, got {members}; combine more")
    if rounds is None and members > EXACT_MEMBERS:
        rounds = max(FEWEST_ROUNDS, (1 << EXACT_MEMBERS) // members**2)
    subsets, operator, error = (
        _exact(coalitions, progress) if rounds is None else _drawn(coalitions, rounds, seed, progress)
    )
    dropped, kept = _drop_order(coalitions)
    without = [full ^ 1 << member for member in range(members)]
    alone, each = np.ones((members, 1)), np.eye(members)
    reason, bootstrap = too_few_groups(coalitions.blocks), None
    if not reason:
        bootstrap = Bootstrap.draw([str(block) for block in range(coalitions.blocks)], resamples=resamples, seed=seed)
    return Contributions(
        shapley=_estimate(coalitions, subsets, operator, bootstrap),
        sampling_error=error,
        leave_one_out=_estimate(coalitions, [full, *without], np.hstack([alone, -each]), bootstrap),
        everyone=coalitions.values([full])[0],
        nobody=coalitions.values([0])[0],
        dropped=dropped,
        left=coalitions.values(kept),
        change=_estimate(coalitions, [full, *kept], np.hstack([-alone, each])[:-1, :-1], bootstrap),
        subsets=len(subsets),
        reason=reason,
    )


def _exact(coalitions: Coalitions, progress: Progress) -> tuple[list[int], Floats, Floats]:
    """Return all subsets, the matrix (members, subsets) from their values to Shapley values, and an error of 0."""
    members = coalitions.members
    subsets = [number ^ number >> 1 for number in range(1 << members)]  # Gray code: one member in or out at a time
    coalitions.measure(subsets, progress)
    inside_ms = np.array([[subset >> member & 1 for subset in subsets] for member in range(members)], bool)
    others_ms = inside_ms.sum(0) - inside_ms  # members of the subset apart from member m
    share = np.array([1 / (members * math.comb(members - 1, size)) for size in range(members)])
    weight_ms = share[others_ms]
    return subsets, np.where(inside_ms, weight_ms, -weight_ms), np.zeros((members, 1 + coalitions.classes))


def _drawn(coalitions: Coalitions, rounds: int, seed: int, progress: Progress) -> tuple[list[int], Floats, Floats]:
    """Return the subsets of members that join in drawn orders, the matrix of mean gains, and its standard error."""
    if rounds < 2:
        raise EnsError(f"expected at least 2 rounds of orders of the members, got {rounds}; their spread is the error")
    members = coalitions.members
    turns = np.add.outer(np.arange(members), np.arange(members)) % members
    generator = np.random.default_rng(seed)
    joins_om = np.concatenate([generator.permutation(members)[turns] for _ in range(rounds)])
    after_om = np.cumsum(np.left_shift(1, joins_om), axis=1)
    before_om = after_om - np.left_shift(1, joins_om)
    coalitions.measure([0, *after_om.ravel().tolist()], progress)
    subsets = np.unique(np.append(after_om, 0))
    after, before = (np.searchsorted(subsets, part) for part in (after_om, before_om))
    operator = np.zeros((members, len(subsets)))
    np.add.at(operator, (joins_om, after), 1 / len(joins_om))
    np.add.at(operator, (joins_om, before), -1 / len(joins_om))
    values_st = coalitions.values(subsets.tolist())
    gains_omt = np.empty((*joins_om.shape, values_st.shape[1]))
    gains_omt[np.arange(len(joins_om))[:, None], joins_om] = values_st[after] - values_st[before]
    rounds_rmt = gains_omt.reshape(rounds, members, *gains_omt.shape[1:]).mean(1)
    return subsets.tolist(), operator, rounds_rmt.std(0, ddof=1) / math.sqrt(rounds)


def _drop_order(coalitions: Coalitions) -> tuple[tuple[int, ...], list[int]]:
    """Return the members to drop in the order that keeps the mIoU highest, and the subsets that are left."""
    left, dropped, kept = coalitions.full, list[int](), list[int]()
    while left & left - 1:  # more than one member
        inside = [member for member in range(coalitions.members) if left >> member & 1]
        scores = coalitions.values([left ^ 1 << member for member in inside])[:, 0]
        dropped.append(inside[int(scores.argmax())])
        left ^= 1 << dropped[-1]
        kept.append(left)
    return tuple(dropped), kept


def _estimate(
    coalitions: Coalitions, subsets: Sequence[int], operator: Floats, bootstrap: Bootstrap | None
) -> Estimates:
    """Return ``operator`` (rows, subsets) times the values of the subsets, with intervals over the image groups."""
    value = operator @ coalitions.values(subsets)
    if bootstrap is None:
        return Estimates(value, np.full_like(value, np.nan), np.full_like(value, np.nan))

    def resampled(resamples: Bootstrap) -> Floats:
        values_brt = np.zeros((len(resamples.counts_bg), *value.shape))
        for start in range(0, len(subsets), CHUNK):
            part = slice(start, start + CHUNK)
            values_brt += np.einsum("rs,bst->brt", operator[:, part], coalitions.values(subsets[part], resamples))
        return values_brt

    samples_brt, left_out_grt = resampled(bootstrap), resampled(bootstrap.leave_one_out)
    limits = [interval(samples_brt[:, *at], left_out_g=left_out_grt[:, *at]) for at in np.ndindex(value.shape)]
    low, high = (np.reshape([getattr(one, side) for one in limits], value.shape) for side in ("low", "high"))
    return Estimates(value, low, high)
