"""The pool: one small object whose parameters most methods choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import TINY, normalised, softmax, tempered
from ensemble.combining.combiner import Combiner, calibration_from_json, damaged
from ensemble.combining.decision import Decision
from ensemble.core.errors import EnsError

Space = Literal["arithmetic", "geometric"]


@dataclass(frozen=True, eq=False)
class Pool(Combiner):
    r"""Combine the probabilities of M members.

    Arithmetic space: :math:`q_c = \sum_m w_{mc}\, p_{mc}^{1/T_m} / Z_m`; geometric space (logarithmic opinion pool):
    :math:`q_c = \prod_m p_{mc}^{w_{mc}/T_m}`; then :math:`p_c \propto q_c^{1/T}`, normalised over the classes.

    Args:
        weights_mc: weights (m, c), not negative, and not all zero for any class; a row of equal numbers is one weight
            for all classes.
        temperatures_m: temperature of each member before pooling, above 0; a higher one makes it less confident.
        space: ``arithmetic`` or ``geometric``.
        temperature: temperature after pooling.
        offsets_c: added to the log-probabilities when a class is decided; they change class maps, never probabilities.
        chosen: the method that ``auto`` selected; empty for other methods.
        decision: a rule that decides for the metric; None for the argmax with the offsets.
        smallest_c: pixels of the smallest object of each class that stays in class maps; None if all stay.

    Raises:
        EnsError: shapes or values that do not fit.

    Reference:
        Genest and Zidek, Combining probability distributions, 1986 (linear and logarithmic opinion pools);
        Guo et al., On calibration of modern neural networks, 2017, eq. 9 (temperature).

    >>> pool = Pool.uniform(members=2, classes=2)
    >>> pool(np.array([[0.9, 0.1], [0.5, 0.5]], np.float32).reshape(2, 1, 2, 1, 1)).ravel().round(2).tolist()
    [0.699999988079071, 0.30000001192092896]
    """

    weights_mc: NDArray[np.float64]
    temperatures_m: NDArray[np.float64]
    space: Space = "arithmetic"
    temperature: float = 1.0
    offsets_c: NDArray[np.float64] | None = None
    chosen: str = ""
    decision: Decision | None = None
    smallest_c: NDArray[np.int64] | None = None

    KIND: ClassVar[str] = "pool"
    PER_MEMBER: ClassVar[Mapping[str, float]] = {"weights_mc": 0.0, "temperatures_m": 1.0}

    def __post_init__(self) -> None:
        weights = self.weights_mc
        if weights.ndim != 2 or self.temperatures_m.shape != weights.shape[:1]:
            raise EnsError(
                f"expected weights (members, classes) and a temperature per member, got shapes {weights.shape} and"
                f" {self.temperatures_m.shape}"
            )
        if not np.isfinite(weights).all() or (weights < 0).any() or (weights.sum(0) <= 0).any():
            raise EnsError(f"expected finite weights >= 0 that are not all zero, got {weights.tolist()}")
        if self.space not in ("arithmetic", "geometric"):
            raise EnsError(f"expected the space arithmetic or geometric, got '{self.space}'")
        self._check(len(weights))

    @classmethod
    def weighted(cls, weights_m: NDArray[np.float64], classes: int) -> Pool:
        """Return a pool with one weight per member, normalised to sum 1."""
        total = float(np.sum(weights_m))
        if not total > 0:
            raise EnsError(f"expected weights >= 0 that are not all zero, got {np.asarray(weights_m).tolist()}")
        column = np.asarray(weights_m, np.float64)[:, None] / total
        return cls(np.repeat(column, classes, axis=1), np.ones(len(column)))

    @classmethod
    def uniform(cls, members: int, classes: int) -> Pool:
        """Return the pool that averages its members."""
        return cls.weighted(np.ones(members), classes)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.weights_mc.shape[1]

    @property
    def weights_m(self) -> NDArray[np.float64]:
        """Mean weight of each member over the classes."""
        return self.weights_mc.mean(1)

    def __call__(self, probs_mnchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the pooled probabilities (n, c, h, w) of the members' probabilities (m, n, c, h, w)."""
        self._check_input(probs_mnchw)
        weights = (self.weights_mc / self.weights_mc.sum(0)).astype(np.float32)[:, None, :, None, None]
        geometric = self.space == "geometric"
        pooled = np.zeros(probs_mnchw.shape[1:], np.float32)
        for probs, weight, temperature in zip(probs_mnchw, weights, self.temperatures_m, strict=True):
            one = tempered(probs, float(temperature))
            pooled += weight * (np.log(np.maximum(one, TINY)) if geometric else one)
        return tempered(softmax(pooled) if geometric else normalised(pooled), self.temperature)

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as plain numbers."""
        return {**self._calibration_to_json(), "weights": self.weights_mc.tolist(), "space": self.space}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Pool:
        """Return the pool with the parameters of ``to_json``."""
        try:
            weights_mc = np.asarray(content["weights"], np.float64)
            return cls(weights_mc, space=content["space"], **calibration_from_json(content))
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(error) from None
