"""The logarithmic opinion pool: a weighted geometric mean of the members' probabilities."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import FLOOR
from ensemble.combining.fit_data import FitData
from ensemble.combining.pool import Pool
from ensemble.combining.registry import COMBINERS
from ensemble.combining.simplex import minimise_on_simplex, without_dust

MOST = 200_000  # largest number of pixels for fitting exponents


@COMBINERS.register("geometric")
def geometric(fit_data: FitData, *, exponents: Literal["uniform", "learned"] = "uniform") -> Pool:
    r"""Take the geometric mean of the probabilities: a class needs the consent of every member with a weight.

    .. math:: q_c \propto \prod_m p_{mc}^{w_m},\qquad w_m \ge 0,\ \sum_m w_m = 1

    Learned exponents minimise the log-loss, which is a convex problem. They sum to 1; the temperature after pooling
    controls how sharp the pool is as a whole.

    Args:
        fit_data: the members' probabilities.
        exponents: ``uniform`` (1/M each; nothing is fitted) or ``learned``.

    Reference:
        Genest and Zidek, Combining probability distributions, 1986; Heskes, Selecting weighting factors in
        logarithmic opinion pools, 1998.
    """
    members = fit_data.members
    weights_m = np.full(members, 1 / members)
    if exponents == "learned":
        some = fit_data.thin(MOST)
        weights_m = fit_exponents(some.probs_mcp, some.labels_p)
    return replace(Pool.weighted(weights_m, fit_data.classes), space="geometric")


def fit_exponents(probs_mcp: NDArray[np.float32], labels_p: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the exponents (members,) on the simplex with the smallest log-loss of the logarithmic opinion pool."""
    members, classes, pixels = probs_mcp.shape
    logs = np.log(np.maximum(probs_mcp, np.float32(FLOOR)))
    true_m = logs[:, labels_p, np.arange(pixels)].mean(1, dtype=np.float64)
    flat = logs.reshape(members, -1)

    def loss_and_gradient(weights_m: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        pooled = (weights_m.astype(np.float32) @ flat).reshape(classes, pixels)
        top = pooled.max(0)
        pooled = np.exp(pooled - top)
        total = pooled.sum(0)
        loss = float((np.log(total) + top).mean(dtype=np.float64) - weights_m @ true_m)
        pooled /= total
        return loss, (flat @ pooled.ravel()).astype(np.float64) / pixels - true_m

    return without_dust(minimise_on_simplex(loss_and_gradient, np.full(members, 1 / members)))
