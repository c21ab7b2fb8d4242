"""The best members within a limit of costs: the subset with the smallest log-loss, or with the largest mIoU."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations, count

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import first_class
from ensemble.combining.convex_weights import fit_convex_weights, log_loss
from ensemble.combining.fit_data import FitData
from ensemble.evaluation.confusion import mean_iou

FITS = 4_000  # subsets whose weights are fitted at most, before the search gives up
COMPARED = 8  # members whose subsets are compared by mIoU, which has no bound for a search: 255 subsets at most
ROUNDING = 1e-9  # of the limit: costs are sums


def fits(costs: NDArray[np.float64] | float, limit: float) -> NDArray[np.bool_]:
    """Return whether costs are within a limit, but for rounding: costs are sums."""
    return np.asarray(costs) <= limit * (1 + ROUNDING)


def best_subset_by_miou(fit_data: FitData, costs_m: NDArray[np.float64], limit: float) -> list[int]:
    """Return the members, ascending, whose weights with the smallest log-loss give the largest mIoU within a limit.

    All subsets of the eight members with the largest mIoU of those that fit alone are compared, and the cheapest of
    equals is taken.

    Args:
        fit_data: probabilities of the members.
        costs_m: cost of each member.
        limit: largest sum of costs; at least one member fits.
    """
    alone_m = np.array([_miou(fit_data, [place], np.ones(1)) for place in range(fit_data.members)])
    order = [place for place in np.argsort(-alone_m, kind="stable").tolist() if fits(costs_m[place], limit)]
    tried = list[tuple[float, float, list[int]]]()
    for size in range(1, COMPARED + 1):
        for places in map(list, combinations(sorted(order[:COMPARED]), size)):
            if fits(costs_m[places].sum(), limit):
                weights = fit_convex_weights(fit_data.true_probs_pm[:, places]) if size > 1 else np.ones(1)
                tried.append((-_miou(fit_data, places, weights), float(costs_m[places].sum()), places))
    return min(tried)[2]


def _miou(fit_data: FitData, places: list[int], weights: NDArray[np.float64]) -> float:
    """Return the mIoU of a weighted mean of members at the pixels."""
    pooled_cp = sum(
        np.float32(weight) * fit_data.probs_mcp[place] for place, weight in zip(places, weights, strict=True)
    )
    return float(mean_iou(fit_data.confusions_gkk(first_class(np.asarray(pooled_cp)[None])[0]).sum(0)))


def best_subset(true_probs_pm: NDArray[np.float32], costs_m: NDArray[np.float64], limit: float) -> list[int]:
    r"""Return the members, ascending, whose convex weights have the smallest log-loss of all subsets within a limit.

    The search is exact. It branches on one member after another: in or out. The best weights of all members that are
    not out bound the loss of a branch from below, because a larger set is never worse. If those of them with a weight
    fit into the limit, they are the best of their branch. So the first such branch, in the order of the bounds, is the
    best of all :math:`2^M` subsets; a few dozen fits usually prove it.

    Args:
        true_probs_pm: probability of the true class (pixels, members).
        costs_m: cost of each member.
        limit: largest sum of costs; at least one member fits.

    Reference:
        Land and Doig, An automatic method of solving discrete programming problems, 1960 (branch and bound).
    """
    search = _Search(true_probs_pm, costs_m, limit)
    queue, number = [search.branch(frozenset(), range(len(costs_m)), 0)], count(1)
    while True:
        branch = heapq.heappop(queue)
        if branch.undecided is None or len(search.known) > FITS:
            return search.filled(branch)
        inside = branch.inside | {branch.undecided}
        heapq.heappush(queue, search.branch(inside, branch.allowed, next(number)))
        outside = [place for place in branch.allowed if place != branch.undecided]
        heapq.heappush(queue, search.branch(branch.inside, outside, next(number)))


@dataclass(frozen=True, order=True)
class _Branch:
    """All subsets that hold ``inside`` and nothing but ``allowed``; none has a smaller loss than ``bound``.

    ``undecided`` is the member to branch on; None if ``weights``, by member, fit into the limit.
    """

    bound: float
    number: int
    inside: frozenset[int]
    allowed: tuple[int, ...]
    weights: Mapping[int, float]
    undecided: int | None


class _Search:
    """The branches of one search, and the weights that were fitted so far."""

    def __init__(self, true_probs_pm: NDArray[np.float32], costs_m: NDArray[np.float64], limit: float) -> None:
        self.true_probs_pm, self.costs_m, self.limit = true_probs_pm, costs_m, limit
        self.known: dict[tuple[int, ...], tuple[float, dict[int, float]]] = {}

    def branch(self, inside: frozenset[int], allowed: Iterable[int], number: int) -> _Branch:
        """Return a branch; members that do not fit next to those inside are out."""
        spent = self.costs_m[list(inside)].sum()
        left = tuple(m for m in allowed if m in inside or fits(spent + self.costs_m[m], self.limit))
        if not left:  # every member is out
            return _Branch(np.inf, number, inside, left, {}, None)
        loss, weights = self._fit(left)
        if fits(self.costs_m[list(inside | weights.keys())].sum(), self.limit):
            return _Branch(loss, number, inside, left, weights, None)
        undecided = max(weights.keys() - inside, key=weights.__getitem__)
        return _Branch(loss, number, inside, left, weights, undecided)

    def filled(self, branch: _Branch) -> list[int]:
        """Return the members with weights; if they cost too much, those with the largest ones that fit."""
        chosen: list[int] = []
        for place in sorted(branch.weights, key=lambda m: (m not in branch.inside, -branch.weights[m])):
            if fits(self.costs_m[[*chosen, place]].sum(), self.limit):
                chosen.append(place)
        return sorted(chosen)

    def _fit(self, places: tuple[int, ...]) -> tuple[float, dict[int, float]]:
        if places not in self.known:
            probs_pm = np.take(self.true_probs_pm, places, axis=1)
            weights_m = fit_convex_weights(probs_pm)
            loss = log_loss(probs_pm, weights_m)
            weights = {place: float(weight) for place, weight in zip(places, weights_m, strict=True) if weight > 0}
            self.known[places] = loss, weights
        return self.known[places]
