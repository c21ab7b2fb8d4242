"""Majority vote: a baseline that uses only the members' class maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import first_class, tempered
from ensemble.combining.combiner import Combiner, calibration_from_json, damaged
from ensemble.combining.decision import Decision
from ensemble.combining.fit_data import FitData
from ensemble.combining.registry import COMBINERS
from ensemble.core.errors import EnsError

TIE = 0.5  # votes of the mean probability: less than one, so that it never overrules a majority


@dataclass(frozen=True, eq=False)
class Vote(Combiner):
    r"""Combine by shares of votes; the mean probability decides between classes with equal votes.

    .. math:: p_c = \frac{v_c + \bar p_c / 2}{M + 1/2},\qquad v_c = |\{m: c = \arg\max_k p_{mk}\}|

    Args:
        votes_m: votes of each member, 1 or 0, not all 0.
        temperatures_m: temperature of each member before pooling; it affects ties only.
        temperature: temperature after pooling.
        offsets_c: added to the log-probabilities when a class is decided.
        chosen: the method that ``auto`` selected; empty for other methods.
        decision: a rule that decides for the metric; None for the argmax with the offsets.
        smallest_c: pixels of the smallest object of each class that stays in class maps; None if all stay.
        class_count: number of classes.

    Raises:
        EnsError: shapes or values that do not fit.

    >>> probs = np.array([[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]], np.float32).reshape(3, 1, 2, 1, 1)
    >>> Vote(np.ones(3), np.ones(3), class_count=2)(probs).ravel().round(3).tolist()
    [0.6290000081062317, 0.3709999918937683]
    """

    votes_m: NDArray[np.float64]
    temperatures_m: NDArray[np.float64]
    temperature: float = 1.0
    offsets_c: NDArray[np.float64] | None = None
    chosen: str = ""
    decision: Decision | None = None
    smallest_c: NDArray[np.int64] | None = None
    class_count: int = 0

    KIND: ClassVar[str] = "vote"
    PER_MEMBER: ClassVar[Mapping[str, float]] = {"votes_m": 0.0, "temperatures_m": 1.0}

    def __post_init__(self) -> None:
        if self.votes_m.ndim != 1 or not np.isin(self.votes_m, (0, 1)).all() or not self.votes_m.any():
            raise EnsError(f"expected a vote of 0 or 1 per member, not all 0, got {self.votes_m.tolist()}")
        self._check(len(self.votes_m))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.class_count

    @property
    def weights_m(self) -> NDArray[np.float64]:
        """Share of the votes of each member."""
        return self.votes_m / self.votes_m.sum()

    def __call__(self, probs_mnchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the shares of votes (n, c, h, w) for the members' probabilities (m, n, c, h, w)."""
        self._check_input(probs_mnchw)
        voting = np.flatnonzero(self.votes_m)
        shares = np.zeros(probs_mnchw.shape[1:], np.float32)
        for m in voting:
            one = tempered(probs_mnchw[m], float(self.temperatures_m[m]))
            shares += np.float32(TIE / len(voting)) * one
            shares += first_class(one)[:, None] == np.arange(self.classes)[:, None, None]
        return tempered(shares / np.float32(len(voting) + TIE), self.temperature)

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as plain numbers."""
        return {**self._calibration_to_json(), "votes": self.votes_m.tolist(), "classes": self.classes}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Vote:
        """Return the vote with the parameters of ``to_json``."""
        try:
            votes_m = np.asarray(content["votes"], np.float64)
            return cls(votes_m, class_count=int(content["classes"]), **calibration_from_json(content))
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(error) from None


@COMBINERS.register("vote")
def vote(fit_data: FitData) -> Vote:
    """Let the majority of the members decide, and the mean probability in a tie; nothing is fitted."""
    members = fit_data.members
    return Vote(np.ones(members), np.ones(members), class_count=fit_data.classes)
