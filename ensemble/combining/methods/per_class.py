"""Weights per member and class, shrunk to one weight per member; cross-validation chooses the strength."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import FLOOR
from ensemble.combining.convex_weights import fit_convex_weights
from ensemble.combining.fit_data import FitData
from ensemble.combining.pool import Pool
from ensemble.combining.registry import COMBINERS, check_least

STRENGTHS = (1.0, 0.1, 0.01, 0.001)
MOST = 100_000  # largest number of pixels for fitting weights
INNER_FOLDS = 3
TINY = 1e-9  # of the members' common weights that every column contains: a column of zeros is the common weights

Weights = NDArray[np.float64]


@COMBINERS.register("per-class")
def per_class(fit_data: FitData, *, strength: float | None = None) -> Pool:
    r"""Choose a weight for each member and class, shrunk to the learned weights of the members.

    .. math:: \min_{w \ge 0,\ \sum_m w_{mc} = 1}\ -\tfrac{1}{P} \sum_p \log \frac{q_{p y_p}}{\sum_c q_{pc}}
        + \tfrac{s}{2} \sum_{mc} (w_{mc} - w_m)^2, \qquad q_{pc} = \sum_m w_{mc}\, p_{pmc}

    Args:
        fit_data: the members' probabilities.
        strength: s, at least 0; a larger value is closer to one weight per member. By default it is the value among
            infinity, 1, 0.1, 0.01 and 0.001 with the smallest log-loss on image groups that are left out.

    Reference:
        Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, sections 3.4 and 7.10.
    """
    if strength is not None:
        check_least("per-class", 0, strength=strength)
    some = fit_data.thin(MOST)
    centre_m = fit_convex_weights(fit_data.true_probs_pm)
    if strength is None:
        strength = choose_strength(some)
    weights_mc = centre_m[:, None].repeat(fit_data.classes, 1)
    if np.isfinite(strength):
        weights_mc = fit_class_weights(some, centre_m, strength, weights_mc)
    return Pool(weights_mc, np.ones(fit_data.members))


def choose_strength(fit_data: FitData) -> float:
    """Return the strength with the smallest log-loss in an inner cross-validation; infinity if none is better."""
    totals = dict.fromkeys((np.inf, *STRENGTHS), 0.0)
    for fit, held in fit_data.splits(INNER_FOLDS):
        if not fit.pixels or not held.pixels:
            continue
        centre_m = fit_convex_weights(fit.true_probs_pm)
        weights_mc = centre_m[:, None].repeat(fit.classes, 1)
        for strength in totals:
            if np.isfinite(strength):  # from strong to weak, each fit starts from the one before
                weights_mc = fit_class_weights(fit, centre_m, strength, weights_mc)
            totals[strength] += held.pixels * _loss(weights_mc, held)[0]
    return min(totals, key=lambda strength: totals[strength])


def fit_class_weights(fit_data: FitData, centre_m: Weights, strength: float, start_mc: Weights) -> Weights:
    """Return weights (members, classes) at a minimum of the penalised log-loss near the start.

    Every column sums to 1. The loss depends only on the direction of a column, so the search needs no constraint except
    that weights are not negative; the columns are normalised afterwards. A column of zeros has no direction: it stands
    for the common weights, also while the search tries it, so that a class never vanishes from the loss.
    """
    from scipy.optimize import minimize  # noqa: PLC0415  (a third of a second that training does not need)

    shape = start_mc.shape

    def columns(free_mc: Weights) -> Weights:
        return (free_mc + TINY * centre_m[:, None]) / (free_mc.sum(0) + TINY)

    def loss_and_gradient(free: Weights) -> tuple[float, Weights]:
        free_mc = free.reshape(shape)
        weights_mc = columns(free_mc)
        loss, gradient_mc = _loss(weights_mc, fit_data)
        away_mc = weights_mc - centre_m[:, None]
        gradient_mc = gradient_mc + strength * away_mc
        gradient_mc = (gradient_mc - (gradient_mc * weights_mc).sum(0)) / (free_mc.sum(0) + TINY)
        return loss + strength / 2 * float(np.square(away_mc).sum()), gradient_mc.ravel()

    bounds = [(0.0, None)] * start_mc.size
    options = {"maxiter": 50, "ftol": 1e-8}
    found = minimize(loss_and_gradient, start_mc.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return columns(found.x.reshape(shape))


def _loss(weights_mc: Weights, fit_data: FitData) -> tuple[float, Weights]:
    """Return the mean log-loss of the pool and its gradient with respect to the weights."""
    probs_mcp, labels_p = fit_data.probs_mcp, fit_data.labels_p
    place = np.arange(len(labels_p))
    pooled_cp = np.maximum(np.einsum("mc,mcp->cp", weights_mc.astype(np.float32), probs_mcp), np.float32(FLOOR))
    total_p = pooled_cp.sum(0)
    true_p = pooled_cp[labels_p, place]
    slope_cp = np.broadcast_to(1 / total_p, pooled_cp.shape).copy()
    slope_cp[labels_p, place] -= 1 / true_p
    gradient_mc = np.einsum("mcp,cp->mc", probs_mcp, slope_cp) / len(labels_p)
    return float(np.log(total_p / true_p).mean(dtype=np.float64)), gradient_mc.astype(np.float64)
