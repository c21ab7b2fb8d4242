"""The cascade: members run one after another, and an image whose pooled probabilities are sure enough needs no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.combiner import Combiner, calibration_from_json, damaged
from ensemble.combining.decision import Decision
from ensemble.combining.fit_data import FitData
from ensemble.core.errors import EnsError
from ensemble.evaluation.diversity import clipped_log
from ensemble.evaluation.uncertainty import entropy

WHOLE = 1 << 30  # rows around a strip, so that an image is read as a whole
NEVER, ALWAYS = -1.0, 1e3  # thresholds that all images go beyond, or none: an entropy is at most log(classes)

Predict = Callable[[int, NDArray[np.intp]], NDArray[np.float32]]
"""The probabilities (n, c, h, w) of some images by the member at a place."""


@dataclass(frozen=True, eq=False)
class Cascade(Combiner):
    """Combine the first members of an order, as many as an image needs.

    After each member, the mean entropy of the image's pooled probabilities is compared with a threshold. An image at or
    below it keeps these probabilities; the others go on to the next member.

    Args:
        stages: the combiner of the first member, of the first two, and so on; that of all is the full ensemble.
        order: places of the members among all.
        thresholds: mean entropy in nats at which an image stops, after each stage but the last; `NEVER` if none stops.
        temperatures_m: those of the last stage, 1 for members that do not run.
        temperature: that of the last stage, for display; each stage has its own.
        offsets_c, decision, smallest_c: as for every combiner; all stages decide alike.
        chosen: as for every combiner.

    Raises:
        EnsError: parts that do not fit together.

    Reference:
        Wang et al., Wisdom of Committees: An Overlooked Approach To Faster and More Accurate Models, ICLR 2022.
    """

    stages: tuple[Combiner, ...]
    order: tuple[int, ...]
    thresholds: tuple[float, ...]
    temperatures_m: NDArray[np.float64] = field(default_factory=lambda: np.ones(1))
    temperature: float = 1.0
    offsets_c: NDArray[np.float64] | None = None
    chosen: str = ""
    decision: Decision | None = None
    smallest_c: NDArray[np.int64] | None = None

    KIND: ClassVar[str] = "cascade"
    PER_MEMBER: ClassVar[Mapping[str, float]] = {"temperatures_m": 1.0}

    def __post_init__(self) -> None:
        count, members = len(self.order), len(self.temperatures_m)
        if not count or len(set(self.order)) != count or not all(0 <= place < members for place in self.order):
            raise EnsError(f"expected an order of different members of {members}, got {self.order}")
        sizes = [len(stage.temperatures_m) for stage in self.stages]
        if sizes != list(range(1, count + 1)) or len({stage.classes for stage in self.stages}) != 1:
            raise EnsError(f"expected stages of 1 to {count} members with the same classes, got {sizes} members")
        if len(self.thresholds) != count - 1 or not np.isfinite(self.thresholds).all():
            raise EnsError(f"expected {count - 1} thresholds of stages, got {self.thresholds}")
        self._check(members)

    @classmethod
    def of(cls, stages: Sequence[Combiner], order: Sequence[int], members: int) -> Cascade:
        """Return the cascade of these stages in which no image stops early."""
        full = stages[-1]
        temperatures_m = np.ones(members)
        temperatures_m[list(order)] = full.temperatures_m
        parts = {name: getattr(full, name) for name in ("temperature", "offsets_c", "chosen", "decision", "smallest_c")}
        never = (NEVER,) * (len(order) - 1)
        return cls(tuple(stages), tuple(order), never, temperatures_m=temperatures_m, **parts)

    def stopping(self, thresholds: Sequence[float]) -> Cascade:
        """Return the cascade with these thresholds."""
        return replace(self, thresholds=tuple(map(float, thresholds)))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.stages[0].classes

    @property
    def weights_m(self) -> NDArray[np.float64]:
        """Influence of each member on the full ensemble."""
        weights_m = np.zeros(len(self.temperatures_m))
        weights_m[list(self.order)] = self.stages[-1].weights_m
        return weights_m

    @property
    def used(self) -> list[int]:
        """Places of the members that may run."""
        return sorted(self.order)

    @property
    def neighbourhood(self) -> bool:
        """Whether it looks at the pixels around each pixel."""
        return any(stage.neighbourhood for stage in self.stages)

    @property
    def reach(self) -> int:
        """Rows around a strip of an image: all of them, because the image decides as a whole when it stops."""
        return WHOLE

    def __call__(self, probs_mnchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the pooled probabilities (n, c, h, w) of whole images from the members' (m, n, c, h, w)."""
        self._check_input(probs_mnchw)
        return self.by_need(lambda place, rows: probs_mnchw[place][rows], probs_mnchw.shape[1])

    def by_need(self, predict: Predict, images: int) -> NDArray[np.float32]:
        """Return the pooled probabilities (n, c, h, w) of images; members predict only those that need them."""
        rows, seen, found = np.arange(images), list[NDArray[np.float32]](), None
        for place, stage, threshold in zip(self.order, self.stages, (*self.thresholds, np.inf), strict=True):
            seen.append(predict(place, rows))
            if threshold == NEVER:
                continue
            pooled = stage(np.stack(seen))
            if found is None:
                found = np.empty((images, *pooled.shape[1:]), np.float32)
            found[rows] = pooled
            going = unsureness(pooled) > threshold
            if not going.any():
                break
            rows, seen = rows[going], [probs[going] for probs in seen]
        assert found is not None, "the last stage stops every image"
        return found

    def on_pixels(self, fit_data: FitData) -> NDArray[np.float32]:
        """Return the pooled probabilities (classes, pixels); an image is as unsure as its pixels here."""
        image_p = np.unique(fit_data.image_p, return_inverse=True)[1]
        pixels_i, found = np.bincount(image_p), np.empty((self.classes, fit_data.pixels), np.float32)
        going_i = np.ones(len(pixels_i), bool)
        for size, (stage, threshold) in enumerate(zip(self.stages, (*self.thresholds, np.inf), strict=True), 1):
            pooled_cp, going_p = stage.on_pixels(fit_data.of_members(self.order[:size])), going_i[image_p]
            found[:, going_p] = pooled_cp[:, going_p]
            going_i &= np.bincount(image_p, entropy(pooled_cp, clipped_log(pooled_cp))) / pixels_i > threshold
        return found

    def among(self, places: Sequence[int], total: int) -> Cascade:
        """Return the cascade for ``total`` members: its own are at ``places``."""
        order = tuple(places[place] for place in self.order)
        temperatures_m = np.ones(total)
        temperatures_m[list(places)] = self.temperatures_m
        return replace(self, order=order, temperatures_m=temperatures_m)

    def only(self, places: Sequence[int]) -> Cascade:
        """Return the cascade of some of its members; they must include every member that may run."""
        order = tuple(list(places).index(place) for place in self.order)
        return replace(self, order=order, temperatures_m=self.temperatures_m[list(places)])

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as plain numbers."""
        stages = [stage.to_json() for stage in self.stages]
        parts = {"order": list(self.order), "thresholds": list(self.thresholds), "stages": stages}
        return {**self._calibration_to_json(), **parts}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Cascade:
        """Return the cascade with the parameters of ``to_json``, its stages read by `load_combiner`."""
        try:
            order, thresholds = tuple(map(int, content["order"])), tuple(map(float, content["thresholds"]))
            return cls(tuple(content["stages"]), order, thresholds, **calibration_from_json(content))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise damaged(error) from None


def unsureness(probs_nchw: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean entropy (n,) of images in nats: the log-loss that calibrated probabilities expect."""
    probs_cnhw = probs_nchw.swapaxes(0, 1)
    return np.asarray(entropy(probs_cnhw, clipped_log(probs_cnhw)), np.float64).mean((1, 2))
