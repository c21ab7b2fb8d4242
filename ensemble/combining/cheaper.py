"""What a budget or a cascade saves and costs, next to the full ensemble: numbers, and sentences with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.budget import Budget
from ensemble.combining.combiner import Combiner
from ensemble.combining.kept_gain import kept_interval
from ensemble.combining.stopping import StoppedEarly
from ensemble.combining.verdict import Verdict
from ensemble.core.formatting import counted
from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.caveats import too_few_groups
from ensemble.evaluation.intervals import interval

RIVAL = "the full ensemble"


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval; the limits are NaN if it has none."""

    share: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not np.isnan(self.low)

    def __str__(self) -> str:
        if not self.known:
            return f"{100 * self.share:.0f} %"
        return f"{100 * self.share:.0f} % ({100 * self.low:.0f} to {100 * self.high:.0f} %)"


@dataclass(frozen=True)
class Promise:
    """What a cascade keeps of the full ensemble's gain in log-loss over the best member, and what it takes.

    Attributes:
        gain: gain of the full ensemble in log-loss per image, as a sum over its pixels; see ``proven``.
        kept: share of the gain, see `ensemble.combining.kept_gain` for its interval.
        evaluations: members that predict an image, as a share of those of the full ensemble.
        proven: whether the gain is above 0 with its interval; without that no share of it is promised.
        alone: whether the full ensemble uses one member only.
    """

    gain: float
    kept: Share
    evaluations: Share
    proven: bool
    alone: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        return asdict(self)

    def __str__(self) -> str:
        if self.alone:
            return "The full ensemble uses a single member, so a cascade has nothing to skip"
        if not self.proven:
            return (
                f"A cascade evaluates {self.evaluations} of the members of the full ensemble; how much of the gain it"
                " keeps cannot be promised, because these images do not prove that the full ensemble has a smaller"
                " log-loss than its best member (--calibrate pool makes the probabilities of an average right)"
            )
        if self.evaluations.share == 1:
            return (
                "No image stops before the last member, so the cascade costs as much as the full ensemble; a smaller"
                " share of the gain (--keep-gain) may save some"
            )
        return (
            f"Expected for new images (cross-fitted): {self.kept} of the full ensemble's gain in log-loss over the"
            f" member that is best on the other folds, at {self.evaluations} of the member evaluations"
        )


def promise_of(stopped: StoppedEarly, groups: Sequence[str]) -> Promise:
    """Return the promise of a cascade, with intervals over groups of images."""
    gain_n, kept_n = stopped.first_n - stopped.full_n, stopped.first_n - stopped.stopped_n
    gain = share_of(gain_n, np.ones(len(gain_n)), groups)
    proven, kept = gain.known and gain.low > 0, Share(_ratio(kept_n, gain_n), math.nan, math.nan)
    if proven:  # without a gain nothing is promised
        limits = kept_interval(stopped, groups)
        kept = Share(kept.share, limits.low, limits.high)
    evaluations = share_of(stopped.evaluated_n, np.full(len(gain_n), stopped.members), groups)
    return Promise(gain.share, kept, evaluations, proven, alone=stopped.members == 1)


def share_of(parts_n: NDArray[Any], wholes_n: NDArray[Any], groups: Sequence[str]) -> Share:
    """Return the ratio of two sums over images with its interval over groups of images."""
    ratio = _ratio(parts_n, wholes_n)
    if too_few_groups(len(set(groups))) or np.isnan(ratio):
        return Share(ratio, math.nan, math.nan)
    draws = Bootstrap.draw(groups)
    left_out_g = draws.leave_one_out.ratio(parts_n, wholes_n)
    limits = interval(draws.ratio(parts_n, wholes_n), left_out_g=left_out_g)
    return Share(ratio, limits.low, limits.high)


def _ratio(parts_n: NDArray[Any], wholes_n: NDArray[Any]) -> float:
    whole = float(wholes_n.sum())
    return float(parts_n.sum()) / whole if whole else math.nan


def budget_numbers(budget: Budget, pool: Combiner, full: Combiner) -> dict[str, Any]:
    """Return what a budget was, what members cost, and which ones are left out."""
    names = list(budget.costs)
    return {
        "limit": budget.limit,
        "unit": budget.unit,
        "costs": dict(budget.costs),
        "cost": float(budget.costs_m[pool.used].sum()),
        "full_cost": float(budget.costs_m[full.used].sum()),
        "left_out": [names[place] for place in full.used if place not in pool.used],
    }


def budget_note(budget: Budget, found: dict[str, Any], verdict: Verdict) -> str:
    """Return which members a budget leaves out, and what that costs in mIoU against the full ensemble."""
    if not found["left_out"]:
        return full_note(budget, found["full_cost"])
    cost, full = (budget.shown(found[key]) for key in ("cost", "full_cost"))
    out = ", ".join(found["left_out"])
    return (
        f"Within {budget} per image: {cost} in place of {full} of the full ensemble; left out:"
        f" {counted(len(found['left_out']), 'member')} ({out}). Difference to the full ensemble in points of mIoU:"
        f" {verdict.differences['method - average'].in_points}."
    )


def full_note(budget: Budget, cost: float) -> str:
    """Return that a budget leaves out no member."""
    return f"Within {budget} per image: the budget leaves nobody out, the full ensemble takes {budget.shown(cost)}."


def cascade_note(promise: Promise, verdict: Verdict) -> str:
    """Return the promise, and what the cascade costs in mIoU against the full ensemble."""
    difference = verdict.differences["method - average"].in_points
    return f"{promise}. Difference to the full ensemble in points of mIoU: {difference}."
