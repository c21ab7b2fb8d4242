"""Scores of one system that lie between 0 and 1, as the intervals of differences need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.intervals import Interval
from ensemble.evaluation.proportion_intervals import class_intervals


@dataclass(frozen=True, eq=False)
class Shares:
    """Scores of one system between 0 and 1, of which the mean over the present ones (not NaN) is taken.

    Attributes:
        whole_k: the scores on all images.
        left_out_gk: the scores with each group left out.
        holders_k: number of groups that hold what is scored: the class, or any pixel.
        found_k: number of groups in which the system finds what is scored, if the others say nothing about the spread
            of the score; None if all holders do.
        bounded: whether differences stay within what the intervals of both scores allow.
    """

    whole_k: Floats
    left_out_gk: Floats
    holders_k: NDArray[np.integer[Any]]
    found_k: NDArray[np.integer[Any]] | None = None
    bounded: bool = False

    @property
    def spread_k(self) -> NDArray[np.integer[Any]]:
        """Number of groups that give each score its spread."""
        return self.holders_k if self.found_k is None else self.found_k

    def only(self, k: int) -> Shares:
        """Return one of the scores."""
        return self.of([k])

    def of(self, places: Sequence[int] | NDArray[np.intp]) -> Shares:
        """Return some of the scores."""
        whole_k, left_out_gk, holders_k = self.whole_k[places], self.left_out_gk[:, places], self.holders_k[places]
        found_k = None if self.found_k is None else self.found_k[places]
        return replace(self, whole_k=whole_k, left_out_gk=left_out_gk, holders_k=holders_k, found_k=found_k)

    def interval(self, level: float) -> Interval:
        """Return the interval of the mean; see `class_intervals`."""
        return class_intervals(self.whole_k, self.left_out_gk, self.holders_k.tolist(), level)[0]
