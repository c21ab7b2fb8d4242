"""The pipeline: everything that is fitted, as one piece, from the choice of members to the decision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import first_class
from ensemble.combining.combiner import Combiner
from ensemble.combining.decision import MOST as OFFSET_PIXELS
from ensemble.combining.decision import fit_offsets
from ensemble.combining.fit_data import FitData
from ensemble.combining.registry import COMBINERS, title
from ensemble.config import Calibrate, Decide
from ensemble.core.component_text import ComponentCall, parse_given
from ensemble.core.errors import EnsError, UnknownName
from ensemble.evaluation.calibration import fit_temperature
from ensemble.evaluation.confusion import mean_iou

CALIBRATIONS: tuple[str, ...] = get_args(Calibrate)
DECISIONS: tuple[str, ...] = get_args(Decide)
MOST = 200_000  # pixels for fitting a temperature: a single number needs no more


@dataclass(frozen=True)
class Pipeline:
    """Settings of a combination; `fit` turns the members' probabilities into a combiner.

    Args:
        method: a registered method with its options, such as ``greedy(bags=20)``.
        calibrate: ``members`` fits a temperature for each member before the method, ``pool`` one after it, ``both``
            fits both, ``none`` fits none.
        decide: ``argmax``, or ``offsets`` to fit the class offsets that maximise the mIoU of the decisions.
        top: number of members to keep, the best by mIoU; None keeps all.

    Raises:
        EnsError: an unknown name, a wrong option, or fewer than one member.
    """

    method: str = "learned"
    calibrate: Calibrate = "none"
    decide: Decide = "argmax"
    top: int | None = None

    def __post_init__(self) -> None:
        name = self.component.name
        if self.calibrate not in CALIBRATIONS:
            raise UnknownName("calibration", self.calibrate, CALIBRATIONS)
        if self.decide not in DECISIONS:
            raise UnknownName("decision", self.decide, DECISIONS)
        if self.top is not None and self.top < 1:
            raise EnsError(f"expected to keep at least one member, got top {self.top}; pass 1 or more")
        if self.top is not None and name == "weighted":
            raise EnsError(
                "expected either weights or top, got both; top selects members, but the method weighted needs a"
                " weight for every member"
            )

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
        parts += [f"decide {self.decide}" if self.decide != "argmax" else "", f"top {self.top}" if self.top else ""]
        return ", ".join([self.name, *filter(None, parts)])

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
        try:
            COMBINERS.create(self.name, _Sizes(members, classes), **self.options)
        except (AttributeError, TypeError):  # it looks for pixels
            return True
        return False

    def fit(self, fit_data: FitData) -> Combiner:
        """Return a combiner of all members; members that are not among the best ``top`` get no weight.

        Raises:
            EnsError: options that do not fit the members.
        """
        places = best_members(fit_data, self.top or fit_data.members)
        part = fit_data if len(places) == fit_data.members else fit_data.of_members(places)
        temperatures_m = np.ones(part.members)
        if self.calibrate in ("members", "both"):
            temperatures_m = fit_member_temperatures(part)
            part = part.tempered(temperatures_m)
        combiner = COMBINERS.create(self.name, part, **self.options)
        temperature, offsets_c = 1.0, None
        if self.calibrate in ("pool", "both"):
            some = part.thin(MOST)
            temperature = fit_temperature(combiner.on_pixels(some), some.labels_p)
        if self.decide == "offsets":
            some = part.thin(OFFSET_PIXELS)
            offsets_c = fit_offsets(combiner.calibrated(temperature=temperature).on_pixels(some), some.labels_p)
        fitted = combiner.calibrated(temperatures_m, temperature, offsets_c)
        return fitted if part.members == fit_data.members else fitted.among(places, fit_data.members)


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
