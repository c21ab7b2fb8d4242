"""Members within a budget: the subset that costs no more, and whose best weights have the smallest log-loss."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.convex_weights import fit_convex_weights, log_loss
from ensemble.combining.fit_data import FitData
from ensemble.core.errors import EnsError

MOST = 200_000  # pixels that subsets are compared on
FITS = 4_000  # subsets whose weights are fitted at most, before the search gives up
ROUNDING = 1e-9  # of the limit: costs are sums
MILLISECONDS, GFLOPS = "ms", "GFLOPs"
_UNITS = {"ms": (MILLISECONDS, 1.0), "s": (MILLISECONDS, 1e3), "gflops": (GFLOPS, 1.0), "mflops": (GFLOPS, 1e-3)}
_LIMIT = re.compile(rf"(?P<number>\d+(\.\d+)?|\.\d+)\s*(?P<unit>{'|'.join(_UNITS)})", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """What predicting one image may cost, and what each member costs; members predict one after another.

    Args:
        limit: the most that one image may cost.
        unit: unit of all costs, for sentences: ``ms``, ``GFLOPs`` or any other.
        costs: cost of one image by name of the member.

    Raises:
        EnsError: a limit or a cost that is not a number above 0.

    >>> Budget(20, "ms", {"unet": 12.5, "pspnet": 6}).among(["pspnet"]).costs
    {'pspnet': 6}
    """

    limit: float
    unit: str
    costs: Mapping[str, float]

    def __post_init__(self) -> None:
        costs = {f"a cost of {name}": cost for name, cost in self.costs.items()}
        for name, value in {"a budget": self.limit, **costs}.items():
            if not (np.isfinite(value) and value > 0):
                raise EnsError(f"expected {name} above 0, got {value:g} {self.unit}; measure it again")

    def __str__(self) -> str:
        return self.shown(self.limit)

    def shown(self, cost: float) -> str:
        """Return a cost with its unit."""
        return f"{float(f'{cost:.3g}'):g} {self.unit}"

    def among(self, names: Sequence[str]) -> Budget:
        """Return the budget with the costs of these members, in this order.

        Raises:
            EnsError: the cost of a member is missing.
        """
        for name in names:
            if name not in self.costs:
                raise EnsError(f"expected the cost of every member, but that of {name} is missing; add it to the costs")
        return replace(self, costs={name: self.costs[name] for name in names})

    @property
    def costs_m(self) -> NDArray[np.float64]:
        """Cost of each member."""
        return np.array(list(self.costs.values()), np.float64)

    @property
    def fitting(self) -> list[int]:
        """Places of the members that fit alone.

        Raises:
            EnsError: no member fits.
        """
        places = np.flatnonzero(_fits(self.costs_m, self.limit)).tolist()
        if not places:
            name, cost = min(self.costs.items(), key=lambda item: item[1])
            raise EnsError(
                f"no member fits into {self} per image: the cheapest, {name}, costs {self.shown(cost)}; allow as much"
                " (--within), or train a smaller network"
            )
        return places


def parse_limit(text: str) -> tuple[float, str]:
    """Return the number and the unit of ``20ms``, ``0.5s``, ``2GFLOPs`` or ``300MFLOPs``.

    Raises:
        EnsError: another text, or 0.

    >>> parse_limit("0.5 s"), parse_limit("2gflops")
    ((500.0, 'ms'), (2.0, 'GFLOPs'))
    """
    match = _LIMIT.fullmatch(text.strip())
    if match is None or float(match["number"]) <= 0:
        raise EnsError(f"expected a budget per image such as 20ms, 0.5s, 2GFLOPs or 300MFLOPs, got '{text}'")
    unit, factor = _UNITS[match["unit"].lower()]
    return float(match["number"]) * factor, unit


def choose_within(fit_data: FitData, budget: Budget, places: Sequence[int]) -> list[int]:
    """Return which of some members are combined within a budget.

    Args:
        fit_data: probabilities of these members.
        budget: costs of all members.
        places: places of these members among all.

    Returns:
        Places among ``fit_data``, ascending.

    Raises:
        EnsError: none of these members fits.
    """
    here = budget.among([list(budget.costs)[place] for place in places])
    if len(here.fitting) == len(places) and _fits(here.costs_m.sum(), budget.limit):
        return list(range(len(places)))
    return best_subset(fit_data.thin(MOST).true_probs_pm, here.costs_m, budget.limit)


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
        left = tuple(m for m in allowed if m in inside or _fits(spent + self.costs_m[m], self.limit))
        if not left:  # every member is out
            return _Branch(np.inf, number, inside, left, {}, None)
        loss, weights = self._fit(left)
        if _fits(self.costs_m[list(inside | weights.keys())].sum(), self.limit):
            return _Branch(loss, number, inside, left, weights, None)
        undecided = max(weights.keys() - inside, key=weights.__getitem__)
        return _Branch(loss, number, inside, left, weights, undecided)

    def filled(self, branch: _Branch) -> list[int]:
        """Return the members with weights; if they cost too much, those with the largest ones that fit."""
        chosen: list[int] = []
        for place in sorted(branch.weights, key=lambda m: (m not in branch.inside, -branch.weights[m])):
            if _fits(self.costs_m[[*chosen, place]].sum(), self.limit):
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


def _fits(costs: NDArray[np.float64] | float, limit: float) -> NDArray[np.bool_]:
    return np.asarray(costs) <= limit * (1 + ROUNDING)
