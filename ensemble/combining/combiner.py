"""The interface of all combiners: pooled probabilities, decisions, calibration, and parameters as plain numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import first_class
from ensemble.combining.decision import Decision
from ensemble.combining.fit_data import FitData
from ensemble.combining.small_objects import LARGEST, without_small_objects
from ensemble.core.errors import EnsError

C = TypeVar("C", bound="Combiner")


class Combiner(ABC):
    """Combine the probabilities of M members into pooled probabilities and class maps.

    A sub-class is a frozen dataclass with the fields ``temperatures_m``, ``temperature``, ``offsets_c``, ``chosen``,
    ``decision`` and ``smallest_c``; the first axis of the parameters in ``PER_MEMBER`` are the members.

    Attributes:
        temperatures_m: temperature of each member before pooling, above 0; a higher one makes it less confident.
        temperature: temperature after pooling.
        offsets_c: added to the log-probabilities when a class is decided; they change class maps, never probabilities.
        chosen: the method that ``auto`` selected; empty for other methods.
        decision: a rule that decides for the metric; None for the argmax with the offsets.
        smallest_c: pixels of the smallest object of each class that stays in class maps; None if all stay.
    """

    KIND: ClassVar[str]
    PER_MEMBER: ClassVar[Mapping[str, float]]
    """Arrays whose first axis are the members, with the value of a member that has no influence."""

    temperatures_m: NDArray[np.float64]
    temperature: float
    offsets_c: NDArray[np.float64] | None
    chosen: str
    decision: Decision | None
    smallest_c: NDArray[np.int64] | None

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes."""

    @property
    @abstractmethod
    def weights_m(self) -> NDArray[np.float64]:
        """Influence of each member, for display; 0 for a member that is not needed."""

    @property
    def neighbourhood(self) -> bool:
        """Whether it looks at the pixels around each pixel."""
        return False

    @property
    def reach(self) -> int:
        """Rows around a strip of an image that its probabilities and decisions depend on."""
        return max(1, 0 if self.smallest_c is None else int(self.smallest_c.max()))

    @property
    def used(self) -> list[int]:
        """Places of the members that predicting needs: those with a weight, or the first if none has one."""
        return np.flatnonzero(self.weights_m).tolist() or [0]  # a regression can consist of its bias only

    @abstractmethod
    def __call__(self, probs_mnchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the pooled probabilities (n, c, h, w) of the members' probabilities (m, n, c, h, w)."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the parameters as plain numbers; ``kind`` names the sub-class that reads them."""

    @classmethod
    @abstractmethod
    def from_json(cls: type[C], content: Mapping[str, Any]) -> C:
        """Return the combiner with the parameters of ``to_json``."""

    def on_pixels(self, fit_data: FitData) -> NDArray[np.float32]:
        """Return the pooled probabilities (classes, pixels) at the pixels of ``fit_data``."""
        return self(fit_data.probs_mcp[:, None, :, None])[0, :, 0]

    def decide(self, probs_nchw: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the class of each pixel (n, h, w) of whole images, without objects that are too small.

        A strip of an image needs the rows around it, see ``reach``.
        """
        return self.cleaned(self.decide_pixels(probs_nchw))

    def cleaned(self, decided_nhw: NDArray[Any], rows: slice = slice(None)) -> NDArray[Any]:
        """Return some rows of decided classes (n, h, w) without objects that are too small."""
        if self.smallest_c is None:
            return decided_nhw[:, rows]
        return without_small_objects(decided_nhw, self.smallest_c, rows)

    def decide_pixels(self, probs_nchw: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the class of each pixel (n, h, w), the first of equals, from its probabilities alone.

        It is that of ``decision``, or the argmax of log-probability plus offset.
        """
        if self.decision is not None:
            return self.decision.decide(probs_nchw)
        if self.offsets_c is None or not self.offsets_c.any():
            return first_class(probs_nchw)
        # Since exp is monotone, scaled probabilities have the same argmax, and no logarithm is needed.
        return first_class(probs_nchw * np.exp(self.offsets_c - self.offsets_c.max())[:, None, None])

    def among(self: C, places: Sequence[int], total: int) -> C:
        """Return the combiner for ``total`` members: its own are at ``places``, the others have no influence."""

        def spread(values_m: NDArray[Any], idle: float) -> NDArray[Any]:
            spread_m = np.full((total, *values_m.shape[1:]), idle, values_m.dtype)
            spread_m[list(places)] = values_m
            return spread_m

        return replace(
            cast(Any, self), **{key: spread(getattr(self, key), idle) for key, idle in self.PER_MEMBER.items()}
        )

    def only(self: C, places: Sequence[int]) -> C:
        """Return the combiner of some of its members; they must include every member with influence."""
        return replace(cast(Any, self), **{key: getattr(self, key)[list(places)] for key in self.PER_MEMBER})

    def calibrated(
        self: C,
        temperatures_m: NDArray[np.float64] | None = None,
        temperature: float = 1.0,
        offsets_c: NDArray[np.float64] | None = None,
    ) -> C:
        """Return the combiner with further temperatures and with offsets.

        Temperatures multiply, since raising to the power 1/S and then 1/T is raising to the power 1/(S T).
        """
        before = self.temperatures_m if temperatures_m is None else self.temperatures_m * temperatures_m
        after = self.temperature * temperature
        offsets = self.offsets_c if offsets_c is None else offsets_c
        return replace(cast(Any, self), **{"temperatures_m": before, "temperature": after, "offsets_c": offsets})

    def deciding(self: C, decision: Decision | None, offsets_c: NDArray[np.float64] | None = None) -> C:
        """Return the combiner with another decision: a rule, or the argmax with offsets."""
        return replace(cast(Any, self), decision=decision, offsets_c=offsets_c)

    def keeping(self: C, smallest_c: NDArray[np.int64] | None) -> C:
        """Return the combiner that removes the objects of fewer than these pixels from its class maps."""
        return replace(cast(Any, self), smallest_c=smallest_c)

    def _check(self, members: int) -> None:
        """Refuse temperatures and offsets that do not fit the number of members or the classes."""
        if self.temperatures_m.shape != (members,):
            raise EnsError(
                f"expected {members} temperatures, one per member, got the shape {self.temperatures_m.shape}"
            )
        every = np.append(self.temperatures_m, self.temperature)
        if not (np.isfinite(every).all() and (every > 0).all()):
            raise EnsError(
                f"expected finite temperatures above 0, got {self.temperatures_m.tolist()} and {self.temperature}"
            )
        if self.offsets_c is not None and self.offsets_c.shape != (self.classes,):
            raise EnsError(f"expected {self.classes} offsets, one per class, got the shape {self.offsets_c.shape}")
        if self.offsets_c is not None and not np.isfinite(self.offsets_c).all():
            raise EnsError(f"expected finite offsets, got {self.offsets_c.tolist()}")
        if self.decision is not None and len(self.decision.sizes_c) != self.classes:
            raise EnsError(f"expected a decision of {self.classes} classes, got one of {len(self.decision.sizes_c)}")
        smallest_c = np.ones(self.classes, np.int64) if self.smallest_c is None else self.smallest_c
        if smallest_c.shape != (self.classes,) or not ((smallest_c >= 1) & (smallest_c <= LARGEST)).all():
            raise EnsError(
                f"expected {self.classes} smallest objects of 1 to {LARGEST} pixels, got {smallest_c.tolist()}"
            )

    def _check_input(self, probs_mnchw: NDArray[np.float32]) -> None:
        members = len(self.temperatures_m)
        if probs_mnchw.shape[0] != members or probs_mnchw.shape[2] != self.classes:
            raise EnsError(
                f"expected probabilities of {members} members and {self.classes} classes,"
                f" got {probs_mnchw.shape[0]} and {probs_mnchw.shape[2]}"
            )

    def _calibration_to_json(self) -> dict[str, Any]:
        rule = {} if self.decision is None else {"decision": self.decision.to_json()}
        rule |= {} if self.smallest_c is None else {"smallest_objects": self.smallest_c.tolist()}
        return {
            "kind": self.KIND,
            "temperatures": self.temperatures_m.tolist(),
            "temperature": self.temperature,
            "offsets": None if self.offsets_c is None else self.offsets_c.tolist(),
            "chosen": self.chosen,
            **rule,
        }


def calibration_from_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that all combiners share from the content of ``to_json``; a missing one is a KeyError."""
    offsets, rule, smallest = content["offsets"], content.get("decision"), content.get("smallest_objects")
    return {
        "temperatures_m": np.asarray(content["temperatures"], np.float64),
        "temperature": float(content["temperature"]),
        "offsets_c": None if offsets is None else np.asarray(offsets, np.float64),
        "chosen": str(content.get("chosen", "")),
        "decision": None if rule is None else Decision.from_json(rule),
        "smallest_c": None if smallest is None else np.asarray(smallest, np.int64),
    }


def damaged(error: Exception) -> EnsError:
    """Return the error for stored parameters that cannot be read."""
    return (
        error
        if isinstance(error, EnsError)
        else EnsError(f"the stored pool is damaged ({error}); combine the members again")
    )
