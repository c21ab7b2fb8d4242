"""Convex weights that minimise the log-loss of the pooled probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ensemble.pool.evidence import Evidence
from ensemble.pool.pool import Pool
from ensemble.pool.registry import COMBINERS

FLOOR = 1e-7  # the log-loss is clipped here, as in evaluation; a stored probability is never below it anyway


@COMBINERS.register("learned")
def learned(evidence: Evidence) -> Pool:
    r"""Convex weights that minimise the log-loss on the labelled pixels.

    .. math:: \min_{w \ge 0,\ \sum_m w_m = 1}\ -\tfrac{1}{P} \sum_p \log \sum_m w_m\, p_{pm}(y_p)

    A convex problem, so the optimum value is unique; it satisfies the conditions of Karush, Kuhn and Tucker: the mean
    of :math:`p_{pm} / q_p` is 1 for every member with a positive weight and at most 1 for the others.

    Reference:
        Wolpert, Stacked generalization, 1992; Breiman, Stacked regressions, 1996 (non-negative weights).
    """
    return Pool.weighted(fit_convex_weights(evidence.true_probs_pm), evidence.classes)


def fit_convex_weights(true_probs_pm: NDArray[np.float32]) -> NDArray[np.float64]:
    """Weights (members,) on the simplex with the smallest mean log-loss of (pixels, members) true-class probabilities.

    Sequential quadratic programming with the exact gradient, then a few steps of expectation maximisation, which keep
    the weights on the simplex and never raise the loss, to settle the last digits.
    """
    probs = np.maximum(true_probs_pm, np.float32(FLOOR))
    members = probs.shape[1]

    def loss_and_gradient(weights_m: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        pooled = probs @ weights_m.astype(np.float32)
        gradient = -(probs.T @ (1 / pooled)) / len(probs)
        return -float(np.log(pooled).mean(dtype=np.float64)), gradient.astype(np.float64)

    found = minimize(
        loss_and_gradient,
        np.full(members, 1 / members),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-9, "maxiter": 200},
    )
    weights = np.clip(found.x, 0, None)
    weights = weights / weights.sum()
    for _ in range(5):
        weights = weights * -loss_and_gradient(weights)[1]
        weights = weights / weights.sum()
    return np.where(weights < 1e-5, 0, weights) / weights[weights >= 1e-5].sum()
