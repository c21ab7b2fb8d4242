"""The pipeline: everything that is fitted, as one piece, from the choice of members to the decision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import first_class
from ensemble.combining.budget import Budget, choose_within
from ensemble.combining.cascade import Cascade
from ensemble.combining.combiner import Combiner
from ensemble.combining.decision import RULES, fit_decision
from ensemble.combining.fit_data import FitData
from ensemble.combining.offsets import fit_offsets
from ensemble.combining.registry import COMBINERS, title
from ensemble.combining.small_objects import check_smallest
from ensemble.combining.stopping import order_members
from ensemble.config import Calibrate, Decide, DecideFrom, SmallestObject
from ensemble.core.component_text import ComponentCall, parse_given
from ensemble.core.errors import EnsError, UnknownName
from ensemble.evaluation.calibration import fit_temperature
from ensemble.evaluation.confusion import mean_iou

C = TypeVar("C", bound=Combiner)

CALIBRATIONS: tuple[str, ...] = get_args(Calibrate)
DECISIONS: tuple[str, ...] = get_args(Decide)
DECIDE_FROM: tuple[str, ...] = get_args(DecideFrom)
MOST = 200_000  # pixels for fitting a temperature: a single number needs no more
DECISION_PIXELS = 500_000


@dataclass(frozen=True)
class Pipeline:
    """Settings of a combination; `fit` turns the members' probabilities into a combiner.

    Args:
        method: a registered method with its options, such as ``greedy(bags=20)``.
        calibrate: ``members`` fits a temperature for each member before the method, ``pool`` one after it, ``both``
            fits both, ``none`` fits none.
        decide: ``argmax``; ``offsets`` to fit the class offsets that maximise the mIoU of the decisions; or
            ``expected-iou`` or ``expected-dice`` for the largest expected mean IoU or Dice, see `Decision`.
        top: number of members to keep, the best by mIoU; None keeps all.
        decide_from: whose expected scores the latter two decisions use: those of the ``validation`` images of the fit,
            or those of the ``images`` that are predicted.
        smallest_object: pixels of the smallest object that stays in class maps; ``auto`` for the numbers per class that
            `cross_fit` finds best on the images of the fit; None keeps all.
        budget: what one image may cost, with the costs of all members in their order; the members that are combined
            are the best subset within it by its criterion, with the weights that have the smallest log-loss.
        keep_gain: share of the gain over the best member that a cascade keeps, see `ensemble.combining.stopping`; None
            combines all members for every image.

    Raises:
        EnsError: an unknown name, a wrong option, fewer than one member, or what cannot go together.
    """

    method: str = "learned"
    calibrate: Calibrate = "none"
    decide: Decide = "argmax"
    top: int | None = None
    decide_from: DecideFrom = "validation"
    smallest_object: SmallestObject = None
    budget: Budget | None = None
    keep_gain: float | None = None

    def __post_init__(self) -> None:
        name = self.component.name
        if self.calibrate not in CALIBRATIONS:
            raise UnknownName("calibration", self.calibrate, CALIBRATIONS)
        check_decision(self.decide, self.decide_from)
        check_smallest(self.smallest_object)
        if self.top is not None and self.top < 1:
            raise EnsError(f"expected to keep at least one member, got top {self.top}; pass 1 or more")
        given = {"top": self.top, "a budget": self.budget, "a cascade": self.keep_gain}
        for choice in (choice for choice, value in given.items() if value is not None and name == "weighted"):
            raise EnsError(
                f"expected either weights or {choice}, got both; {choice} selects members, but the method weighted"
                " needs a weight for every member"
            )
        if self.keep_gain is not None and not 0 < self.keep_gain <= 1:
            raise EnsError(f"expected a share of the gain above 0 and up to 1, got {self.keep_gain:g}; 0.97 is 97 %")
        if self.keep_gain is not None and self.budget is not None:
            raise EnsError("expected a budget or a cascade, got both; leave one of them out (--within, --cascade)")

    @cached_property
    def component(self) -> ComponentCall:
        """The method's name, and the options that were given, with their types."""
        return parse_given(self.method, COMBINERS)

    @property
    def name(self) -> str:
        """The method's name."""
        return self.component.name

    @property
    def options(self) -> dict[str, Any]:
        """The method's options that were given."""
        return self.component.options

    @property
    def title(self) -> str:
        """The method with its options, for tables."""
        return title(self.name, self.options)

    @property
    def label(self) -> str:
        """The method and what is fitted around it, for sentences: ``average, calibrate both``."""
        parts = [f"calibrate {self.calibrate}" if self.calibrate != "none" else ""]
        parts += [f"decide {self.decide}" if self.decide != "argmax" else ""]
        parts += ["decide from images" if self.decide_from == "images" else ""]
        parts += [f"smallest object {self.smallest_object}" if self.smallest_object else ""]
        parts += [f"top {self.top}" if self.top else "", f"within {self.budget.text}" if self.budget else ""]
        parts += ["cascade" if self.keep_gain else ""]
        return ", ".join([self.name, *filter(None, parts)])

    @property
    def full(self) -> Pipeline:
        """The same without a budget and without a cascade: what these two are judged against."""
        return replace(self, budget=None, keep_gain=None)

    @property
    def neighbourhood(self) -> bool:
        """Whether the method looks at the pixels around each pixel; ``auto`` may choose one that does."""
        return self.name == "auto" or self.options.get("neighbourhood", 1) != 1

    def fits(self, members: int, classes: int) -> bool:
        """Return whether anything depends on the images, unlike ``average`` and given weights.

        A method that needs to know no more than the numbers of members and classes fits nothing.
        """
        if self.calibrate != "none" or self.decide != "argmax" or (self.top or members) < members:
            return True
        if self.smallest_object == "auto" or self != self.full:
            return True
        try:
            COMBINERS.create(self.name, _Sizes(members, classes), **self.options)
        except (AttributeError, TypeError):  # it looks for pixels
            return True
        return False

    def fit(self, fit_data: FitData) -> Combiner:
        """Return a combiner of all members; members that are not among the best ``top`` get no weight.

        The sizes of ``smallest_object="auto"`` and the thresholds of a cascade are not among it, because they need
        whole images.

        Raises:
            EnsError: options that do not fit the members, or no member within the budget.
        """
        if self.keep_gain is not None:
            return self._staged(fit_data)
        places = best_members(fit_data, self.top or fit_data.members)
        part = fit_data if len(places) == fit_data.members else fit_data.of_members(places)
        temperatures_m = np.ones(part.members)
        if self.calibrate in ("members", "both"):
            temperatures_m = fit_member_temperatures(part)
            part = part.tempered(temperatures_m)
        if self.budget is not None:
            chosen = choose_within(part, self.budget, places)
            part, temperatures_m = part.of_members(chosen), temperatures_m[chosen]
            places = [places[place] for place in chosen]
        combiner = COMBINERS.create(self.name, part, **self.options)
        temperature = 1.0
        if self.calibrate in ("pool", "both"):
            some = part.thin(MOST)
            temperature = fit_temperature(combiner.on_pixels(some), some.labels_p)
        fitted = with_decision(combiner.calibrated(temperature=temperature), part, self.decide)
        fitted = fitted.calibrated(temperatures_m)
        if isinstance(self.smallest_object, int):
            fitted = fitted.keeping(np.full(part.classes, self.smallest_object, np.int64))
        return fitted if part.members == fit_data.members else fitted.among(places, fit_data.members)

    def _staged(self, fit_data: FitData) -> Cascade:
        """Return the cascade of the members that the full ensemble needs; no image stops early yet."""
        full = self.full.fit(fit_data)
        order = [full.used[place] for place in order_members(fit_data.of_members(full.used))]
        alone = replace(self.full, method=full.chosen or self.method, top=None)
        stages = [alone.fit(fit_data.of_members(order[:size])) for size in range(1, len(order))]
        return Cascade.of([*stages, full.only(order)], order, fit_data.members)


def check_decision(decide: str, decide_from: str) -> None:
    """Check the names of a decision and of the images that it is fitted to.

    Raises:
        EnsError: an unknown name, or a decision that is not fitted to the predicted images.
    """
    if decide not in DECISIONS:
        raise UnknownName("decision", decide, DECISIONS)
    if decide_from not in DECIDE_FROM:
        raise UnknownName("source of the decision", decide_from, DECIDE_FROM)
    if decide_from == "images" and decide not in RULES:
        raise EnsError(
            f"expected decide {' or '.join(RULES)} with decide_from images, got {decide}; leave decide_from out, or"
            " choose another decision"
        )


def with_decision(combiner: C, fit_data: FitData, decide: Decide) -> C:
    """Return the combiner with a decision that is fitted to labelled pixels; only offsets look at the labels."""
    if decide == "argmax":
        return combiner
    some = fit_data.thin(DECISION_PIXELS)
    probs_cp = combiner.on_pixels(some)
    if decide == "offsets":
        return combiner.deciding(None, fit_offsets(probs_cp, some.labels_p))
    return combiner.deciding(fit_decision(lambda: [probs_cp], RULES[decide]))


@dataclass(frozen=True)
class _Sizes:
    """What a method that fits nothing needs of `FitData`."""

    members: int
    classes: int


def fit_member_temperatures(fit_data: FitData) -> NDArray[np.float64]:
    """Return the temperature (members,) that minimises the log-loss of each member."""
    some = fit_data.thin(MOST)
    return np.array([fit_temperature(probs_cp, some.labels_p) for probs_cp in some.probs_mcp])


def best_members(fit_data: FitData, count: int) -> list[int]:
    """Return the places of the ``count`` members with the best mIoU, in the order of the members."""
    if count >= fit_data.members:
        return list(range(fit_data.members))
    confusions = [fit_data.confusions_gkk(decided_p).sum(0) for decided_p in first_class(fit_data.probs_mcp)]
    return sorted(np.argsort(-mean_iou(np.stack(confusions)), kind="stable")[:count].tolist())
