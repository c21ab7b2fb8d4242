"""Everything that is fitted, in one piece: which members, their temperatures, the method, and what follows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
from ensemble.core.errors import EnsError, UnknownName
from ensemble.evaluation.calibration import fit_temperature
from ensemble.evaluation.confusion import mean_iou

CALIBRATIONS: tuple[str, ...] = get_args(Calibrate)
DECISIONS: tuple[str, ...] = get_args(Decide)
MOST = 200_000  # pixels that a temperature, a single number, is fitted on


@dataclass(frozen=True)
class Pipeline:
    """A way of making a combiner from fit_data, fitted and cross-fitted as a whole.

    Args:
        method: a registered method.
        options: its options.
        calibrate: ``members`` gives each member a temperature before the method, ``pool`` one after it.
        decide: ``offsets`` fits class offsets that maximise the mIoU of the decisions.
        top: keep this many members, those of the best mIoU; all where left out.

    Raises:
        EnsError: names that are none, or fewer than one member.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    calibrate: Calibrate = "none"
    decide: Decide = "argmax"
    top: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", COMBINERS.check_options(self.method, self.options))
        if self.calibrate not in CALIBRATIONS:
            raise UnknownName("calibration", self.calibrate, CALIBRATIONS)
        if self.decide not in DECISIONS:
            raise UnknownName("decision", self.decide, DECISIONS)
        if self.top is not None and self.top < 1:
            raise EnsError(f"expected to keep at least one member, got --top {self.top}")

    @property
    def title(self) -> str:
        """The method with its options, for tables."""
        return title(self.method, dict(self.options))

    @property
    def label(self) -> str:
        """The method with what is fitted around it, for sentences: ``average, calibrate both``."""
        parts = [f"calibrate {self.calibrate}" if self.calibrate != "none" else ""]
        parts += [f"decide {self.decide}" if self.decide != "argmax" else "", f"top {self.top}" if self.top else ""]
        return ", ".join([self.method, *filter(None, parts)])

    @property
    def neighbourhood(self) -> bool:
        """Whether the method looks at the pixels around."""
        return self.options.get("neighbourhood", 1) != 1

    def fit(self, fit_data: FitData) -> Combiner:
        """The combiner of all members of the fit_data; those not among the best ``top`` have no part in it.

        Raises:
            EnsError: options that do not fit the members.
        """
        places = best_members(fit_data, self.top or fit_data.members)
        part = fit_data if len(places) == fit_data.members else fit_data.of_members(places)
        temperatures_m = np.ones(part.members)
        if self.calibrate in ("members", "both"):
            temperatures_m = fit_member_temperatures(part)
            part = part.tempered(temperatures_m)
        combiner = COMBINERS.create(self.method, part, **self.options)
        temperature, offsets_c = 1.0, None
        if self.calibrate in ("pool", "both"):
            some = part.thin(MOST)
            temperature = fit_temperature(combiner.on_pixels(some), some.labels_p)
        if self.decide == "offsets":
            some = part.thin(OFFSET_PIXELS)
            offsets_c = fit_offsets(combiner.calibrated(temperature=temperature).on_pixels(some), some.labels_p)
        fitted = combiner.calibrated(temperatures_m, temperature, offsets_c)
        return fitted if part.members == fit_data.members else fitted.among(places, fit_data.members)


def fit_member_temperatures(fit_data: FitData) -> NDArray[np.float64]:
    """The temperature of each member that minimises its own log-loss."""
    some = fit_data.thin(MOST)
    return np.array([fit_temperature(probs_cp, some.labels_p) for probs_cp in some.probs_mcp])


def best_members(fit_data: FitData, count: int) -> list[int]:
    """Places of the ``count`` members of the best mIoU on the fit_data, in their order."""
    if count >= fit_data.members:
        return list(range(fit_data.members))
    confusions = [fit_data.confusions_gkk(decided_p).sum(0) for decided_p in first_class(fit_data.probs_mcp)]
    return sorted(np.argsort(-mean_iou(np.stack(confusions)), kind="stable")[:count].tolist())
