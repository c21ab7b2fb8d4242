"""Weights that the user gives."""

from __future__ import annotations

import numpy as np

from ensemble.combining.fit_data import FitData
from ensemble.combining.pool import Pool
from ensemble.combining.registry import COMBINERS
from ensemble.core.errors import EnsError


@COMBINERS.register("weighted")
def weighted(fit_data: FitData, *, weights: tuple[float, ...] = ()) -> Pool:
    """Weight the members by given weights, one per member in the order of the members, normalised to sum 1."""
    if len(weights) != fit_data.members:
        raise EnsError(
            f"expected {fit_data.members} weights, one per member, got {len(weights)};"
            ' write for example method "weighted(weights=[2, 1, 1])"'
        )
    values = np.asarray(weights, np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise EnsError(
            f"expected finite weights >= 0 that are not all zero, got {', '.join(f'{w:g}' for w in weights)}"
        )
    return Pool.weighted(values, fit_data.classes)
