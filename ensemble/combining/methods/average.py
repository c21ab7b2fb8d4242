"""The uniform average: the baseline that fitted weights have to beat."""

from __future__ import annotations

from ensemble.combining.fit_data import FitData
from ensemble.combining.pool import Pool
from ensemble.combining.registry import COMBINERS


@COMBINERS.register("average")
def average(fit_data: FitData) -> Pool:
    """Average the members' probabilities; nothing is fitted."""
    return Pool.uniform(fit_data.members, fit_data.classes)
