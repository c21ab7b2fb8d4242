"""Minimise a smooth function of weights that are not negative and sum to 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]


def minimise_on_simplex(
    loss_and_gradient: Callable[[Weights], tuple[float, Weights]], start_m: Weights, *, precision: float = 1e-8
) -> Weights:
    """Return the weights (members,) that minimise a function, by sequential quadratic programming.

    Args:
        loss_and_gradient: function that returns the value and the exact gradient at given weights.
        start_m: weights to start from.
        precision: change of the value at which to stop, not below its rounding errors.

    Reference:
        Kraft, A software package for sequential quadratic programming, 1988.

    >>> minimise_on_simplex(lambda w: (float(w[0] ** 2 + w[1]), np.array([2 * w[0], 1.0])), np.full(2, 0.5)).round(3)
    array([0.5, 0.5])
    """
    from scipy.optimize import minimize  # noqa: PLC0415  (a third of a second that training does not need)

    result = minimize(
        loss_and_gradient,
        start_m,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(start_m),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": precision, "maxiter": 200},
    )
    weights = np.clip(result.x, 0, None)
    return weights / weights.sum()


def without_dust(weights_m: Weights) -> Weights:
    """Set weights below 0.00001 to 0, so that these members need not predict, and normalise the rest."""
    return np.where(weights_m < 1e-5, 0, weights_m) / weights_m[weights_m >= 1e-5].sum()
