"""What every way of combining has in common: pooled probabilities, decisions, calibration and a form on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import first_class
from ensemble.combining.fit_data import FitData
from ensemble.core.errors import EnsError

C = TypeVar("C", bound="Combiner")


class Combiner(ABC):
    """Probabilities of M members in, pooled probabilities and class maps out.

    A sub-class is a frozen dataclass with the fields ``temperatures_m``, ``temperature``, ``offsets_c`` and
    ``chosen``, and with parameters whose first axis are the members: those of ``PER_MEMBER``.

    Attributes:
        temperatures_m: temperature of each member before pooling, above 0; higher is less confident.
        temperature: temperature after pooling.
        offsets_c: added to the log-probabilities when a class is decided; they move class maps, never probabilities.
        chosen: the method taken, where a method chose among others.
    """

    KIND: ClassVar[str]
    PER_MEMBER: ClassVar[Mapping[str, float]]
    """Arrays whose first axis are the members, with the value that stands for "this member has no part"."""

    temperatures_m: NDArray[np.float64]
    temperature: float
    offsets_c: NDArray[np.float64] | None
    chosen: str

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes."""

    @property
    @abstractmethod
    def weights_m(self) -> NDArray[np.float64]:
        """How much each member counts, for display and to know who has no part."""

    @abstractmethod
    def __call__(self, probs_mnchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pooled probabilities (n, c, h, w) of the members' probabilities (m, n, c, h, w)."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Parameters as plain numbers; its ``kind`` says which sub-class reads them."""

    @classmethod
    @abstractmethod
    def from_json(cls: type[C], content: Mapping[str, Any]) -> C:
        """The combiner that ``to_json`` described."""

    def on_pixels(self, fit_data: FitData) -> NDArray[np.float32]:
        """Pooled probabilities (classes, pixels) of the pixels of some fit_data."""
        return self(fit_data.probs_mcp[:, None, :, None])[0, :, 0]

    def decide(self, probs_nchw: NDArray[np.float32]) -> NDArray[np.intp]:
        """Class of each pixel (n, h, w): argmax of log-probability plus offset; the first of equals."""
        if self.offsets_c is None or not self.offsets_c.any():
            return first_class(probs_nchw)
        # exp is monotone: scaling probabilities gives the argmax of log-probability plus offset without a logarithm.
        return first_class(probs_nchw * np.exp(self.offsets_c - self.offsets_c.max())[:, None, None])

    def among(self: C, places: Sequence[int], total: int) -> C:
        """The same combiner for ``total`` members, of which those at ``places`` are its own and the others idle."""

        def spread(values_m: NDArray[Any], idle: float) -> NDArray[Any]:
            spread_m = np.full((total, *values_m.shape[1:]), idle, values_m.dtype)
            spread_m[list(places)] = values_m
            return spread_m

        return replace(
            cast(Any, self), **{key: spread(getattr(self, key), idle) for key, idle in self.PER_MEMBER.items()}
        )

    def only(self: C, places: Sequence[int]) -> C:
        """The combiner of some of its members: all that have a part must be among them."""
        return replace(cast(Any, self), **{key: getattr(self, key)[list(places)] for key in self.PER_MEMBER})

    def calibrated(
        self: C,
        temperatures_m: NDArray[np.float64] | None = None,
        temperature: float = 1.0,
        offsets_c: NDArray[np.float64] | None = None,
    ) -> C:
        """With further temperatures (raising to the powers 1/S and 1/T is raising to 1/(S T)) and with offsets."""
        before = self.temperatures_m if temperatures_m is None else self.temperatures_m * temperatures_m
        after = self.temperature * temperature
        offsets = self.offsets_c if offsets_c is None else offsets_c
        return replace(cast(Any, self), **{"temperatures_m": before, "temperature": after, "offsets_c": offsets})

    def _check(self, members: int) -> None:
        """Refuse temperatures and offsets that do not fit ``members`` members and the classes."""
        if self.temperatures_m.shape != (members,):
            raise EnsError(f"expected {members} temperatures, one per member, got {self.temperatures_m.shape}")
        every = np.append(self.temperatures_m, self.temperature)
        if not (np.isfinite(every).all() and (every > 0).all()):
            raise EnsError(
                f"expected finite temperatures above 0, got {self.temperatures_m.tolist()} and {self.temperature}"
            )
        if self.offsets_c is not None and self.offsets_c.shape != (self.classes,):
            raise EnsError(f"expected {self.classes} offsets, one per class, got {self.offsets_c.shape}")
        if self.offsets_c is not None and not np.isfinite(self.offsets_c).all():
            raise EnsError(f"expected finite offsets, got {self.offsets_c.tolist()}")

    def _check_input(self, probs_mnchw: NDArray[np.float32]) -> None:
        members = len(self.temperatures_m)
        if probs_mnchw.shape[0] != members or probs_mnchw.shape[2] != self.classes:
            raise EnsError(
                f"expected probabilities of {members} members and {self.classes} classes,"
                f" got {probs_mnchw.shape[0]} and {probs_mnchw.shape[2]}"
            )

    def _calibration_to_json(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "temperatures": self.temperatures_m.tolist(),
            "temperature": self.temperature,
            "offsets": None if self.offsets_c is None else self.offsets_c.tolist(),
            "chosen": self.chosen,
        }


def calibration_from_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that every combiner has, from ``to_json``; a missing one is a KeyError."""
    offsets = content["offsets"]
    return {
        "temperatures_m": np.asarray(content["temperatures"], np.float64),
        "temperature": float(content["temperature"]),
        "offsets_c": None if offsets is None else np.asarray(offsets, np.float64),
        "chosen": str(content.get("chosen", "")),
    }


def damaged(error: Exception) -> EnsError:
    """The error of parameters that cannot be read."""
    return (
        error
        if isinstance(error, EnsError)
        else EnsError(f"the stored pool is damaged ({error}); combine the members again")
    )
