"""Weights that the user gives."""

from __future__ import annotations

import numpy as np

from ensemble.combining.fit_data import FitData
from ensemble.combining.pool import Pool
from ensemble.combining.registry import COMBINERS
from ensemble.core.errors import EnsError


@COMBINERS.register("weighted")
def weighted(fit_data: FitData, *, weights: tuple[float, ...] = ()) -> Pool:
    """Weight the members by given weights, normalised to sum 1.

    Args:
        fit_data: the number of members and of classes.
        weights: one per member in the order of the members; or members x classes, those of the first member first.
    """
    members, classes = fit_data.members, fit_data.classes
    if len(weights) not in (members, members * classes):
        raise EnsError(
            f"expected {members} weights, one per member, got {len(weights)};"
            ' write for example method "weighted(weights=[2, 1, 1])", or weights per class into a table (--weights)'
        )
    values = np.asarray(weights, np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise EnsError(
            f"expected finite weights >= 0 that are not all zero, got {', '.join(f'{w:g}' for w in weights)}"
        )
    if len(values) == members:
        return Pool.weighted(values, classes)
    values_mc = values.reshape(members, classes)
    if not values_mc.any(0).all():
        raise EnsError("expected a weight above 0 for every class, got a class with only 0; raise one of its weights")
    return Pool(values_mc / values_mc.sum(0), np.ones(members))
