"""Members within a budget: the subset that costs no more, and whose best weights have the smallest log-loss."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.best_subset import best_subset, best_subset_by_miou, fits
from ensemble.combining.fit_data import FitData
from ensemble.config import WithinBy
from ensemble.core.errors import EnsError, UnknownName

MOST = 200_000  # pixels that subsets are compared on
CRITERIA: tuple[str, ...] = get_args(WithinBy)
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
        by: what the best members are: those whose ensemble has the largest ``miou`` on the images of the fit, or the
            smallest ``log-loss``.

    Raises:
        EnsError: a limit or a cost that is not a number above 0, or an unknown criterion.

    >>> Budget(20, "ms", {"unet": 12.5, "pspnet": 6}).among(["pspnet"]).costs
    {'pspnet': 6}
    """

    limit: float
    unit: str
    costs: Mapping[str, float]
    by: WithinBy = "miou"

    def __post_init__(self) -> None:
        if self.by not in CRITERIA:
            raise UnknownName("criterion", self.by, CRITERIA)
        costs = {f"a cost of {name}": cost for name, cost in self.costs.items()}
        for name, value in {"a budget": self.limit, **costs}.items():
            if not (np.isfinite(value) and value > 0):
                raise EnsError(f"expected {name} above 0, got {value:g} {self.unit}; measure it again")

    def __str__(self) -> str:
        return self.shown(self.limit)

    @property
    def text(self) -> str:
        """The limit, and the criterion if it is not the usual one."""
        return str(self) if self.by == "miou" else f"{self} by {self.by}"

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
    def holds_all(self) -> bool:
        """Whether all members together cost no more."""
        return bool(fits(self.costs_m.sum(), self.limit))

    @property
    def fitting(self) -> list[int]:
        """Places of the members that fit alone.

        Raises:
            EnsError: no member fits.
        """
        places = np.flatnonzero(fits(self.costs_m, self.limit)).tolist()
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
    if len(here.fitting) == len(places) and fits(here.costs_m.sum(), budget.limit):
        return list(range(len(places)))
    some = fit_data.thin(MOST)
    if budget.by == "miou":
        return best_subset_by_miou(some, here.costs_m, budget.limit)
    return best_subset(some.true_probs_pm, here.costs_m, budget.limit)
