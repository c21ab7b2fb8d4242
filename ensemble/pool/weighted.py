"""Weights given by the user."""

from __future__ import annotations

import numpy as np

from ensemble.errors import EnsError
from ensemble.pool.evidence import Evidence
from ensemble.pool.pool import Pool
from ensemble.pool.registry import COMBINERS


@COMBINERS.register("weighted")
def weighted(evidence: Evidence, *, weights: tuple[float, ...] = ()) -> Pool:
    """Weights you give, one per member in the order of the members, normalised to sum 1."""
    if len(weights) != evidence.members:
        raise EnsError(
            f"expected {evidence.members} weights, one per member, got {len(weights)};"
            " write for example --weights 2,1,1"
        )
    values = np.asarray(weights, np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise EnsError(
            f"expected finite weights >= 0 that are not all zero, got {', '.join(f'{w:g}' for w in weights)}"
        )
    return Pool.weighted(values, evidence.classes)
