"""Convex weights that minimise the log-loss of the pooled probabilities, or maximise their soft mIoU."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from ensemble.combining.arithmetic import FLOOR
from ensemble.combining.fit_data import FitData
from ensemble.combining.methods.simplex import minimise_on_simplex, without_dust
from ensemble.combining.pool import Pool
from ensemble.combining.registry import COMBINERS
from ensemble.core.errors import EnsError

GAP = 1e-6
GAIN = 1e-9
ROUNDING = 1e-7  # of the loss, in single precision
FLAT = 1e-7
STEPS = 50
THIN, SAMPLE = 16, 1 << 13  # the sample is every 16th pixel, if these are at least 8,192
BLOCK = 1 << 14

Floats = NDArray[np.float64]


@COMBINERS.register("learned")
def learned(
    fit_data: FitData, *, objective: Literal["log-loss", "soft-miou"] = "log-loss", min_weight: float = 0.0
) -> Pool:
    r"""Choose the convex weights that minimise the log-loss on the labelled pixels.

    .. math:: \min_{w \ge 0,\ \sum_m w_m = 1}\ -\tfrac{1}{P} \sum_p \log \sum_m w_m\, p_{pm}(y_p)

    The problem is convex, so the smallest value is unique. It satisfies the conditions of Karush, Kuhn and Tucker: the
    mean of :math:`p_{pm} / q_p` is 1 for every member with a positive weight, and at most 1 for the others.

    Args:
        fit_data: the members' probabilities.
        objective: ``log-loss``, or ``soft-miou``: the mean IoU with probabilities instead of decisions, which is not
            concave in the weights (see :func:`fit_soft_iou_weights`).
        min_weight: smallest weight of every member, from 0 to 1 over the number of members. The log-loss of many pixels
            drops a member that knows a rare class and is worse on the others; a floor keeps it.

    Raises:
        EnsError: a floor that the weights of so many members cannot keep.

    Reference:
        Wolpert, Stacked generalization, 1992; Breiman, Stacked regressions, 1996 (non-negative weights).
    """
    members = fit_data.members
    if not 0 <= min_weight * members <= 1 + 1e-9:
        raise EnsError(
            f"expected min_weight from 0 to {1 / members:.3f}, one over the number of members, got {min_weight:g};"
            " choose a smaller one"
        )
    free = max(0.0, 1 - members * min_weight)
    if objective == "soft-miou":
        weights_m = fit_soft_iou_weights(fit_data.probs_mcp, fit_data.labels_p, min_weight)
    else:
        weights_m = fit_convex_weights(_floored(fit_data.true_probs_pm.T, min_weight).T)
    return Pool.weighted(min_weight + free * weights_m, fit_data.classes)


def _floored(values_m: NDArray[Any], min_weight: float) -> NDArray[Any]:
    """Return values (members, ...) whose mean with weights v is that of the given ones with min_weight + free * v.

    Since the weights v sum to 1, the part of the floor is the same for all of them. So the best weights above a floor
    are the best weights without one for these values.
    """
    if min_weight == 0:
        return values_m
    free = max(0.0, 1 - len(values_m) * min_weight)
    return (free * values_m + min_weight * values_m.sum(0)).astype(values_m.dtype)


def fit_convex_weights(true_probs_pm: NDArray[np.float32]) -> Floats:
    r"""Return the weights (members,) on the simplex with the smallest log-loss of true-class probabilities.

    .. math:: \min_{w \ge 0}\ -\tfrac{1}{P} \sum_p \log \sum_m w_m\, p_{pm} + \sum_m w_m

    has the same optimum without a constraint on the sum, because the sum is 1 at the optimum. First, Newton's method on
    a sample of the pixels comes close to it. Then steps with the gradient of all pixels and the Hessian of the sample
    finish the search. If the sample differs too much from all pixels, Newton's method on all pixels finishes instead.
    The search ends when the largest mean of :math:`p_m / q` is below 1 + 1e-6, which proves that the loss is within
    1e-6 of the smallest. Newton's method on all pixels also ends at a step that would lower the loss by less than 1e-9.

    Args:
        true_probs_pm: probability of the true class (pixels, members).

    Reference:
        Kim, Carbonetto, Stephens and Anitescu, A fast algorithm for maximum likelihood estimation of mixture
        proportions using sequential quadratic programming, 2020, section 3.2; Jaggi, Revisiting Frank-Wolfe, 2013,
        eq. 2 (the gap that proves the optimum).
    """
    probs_mp = np.ascontiguousarray(true_probs_pm.T)  # long rows are fast
    if probs_mp.min() < FLOOR:
        probs_mp = np.maximum(probs_mp, np.float32(FLOOR))
    members, pixels = probs_mp.shape
    sampled = pixels >= THIN * SAMPLE
    sample_mp = np.ascontiguousarray(probs_mp[:, ::THIN]) if sampled else probs_mp
    # A sample determines the loss at the optimum only to within about members / (2 pixels).
    enough = members / (2 * sample_mp.shape[1]) if sampled else GAIN
    weights_m, hessian_mm = _newton(sample_mp, np.full(members, 1 / members), enough)
    before = np.inf
    while sampled:
        gradient_m = _gradient(probs_mp, weights_m)
        if _gap(gradient_m) < GAP:
            break
        step_m, gain = _newton_step(weights_m, gradient_m, hessian_mm)
        if not gain < before / 4:  # the sample is not good enough: use the Hessian of all pixels
            weights_m, _ = _newton(probs_mp, weights_m, GAIN)
            break
        weights_m, before = _moved(weights_m, step_m), gain
    return without_dust(weights_m)


def _newton(probs_mp: NDArray[np.float32], weights_m: Floats, enough: float) -> tuple[Floats, Floats]:
    """Return the optimum on these pixels and its Hessian; a step that does not lower the loss enough is halved."""
    loss, gradient_m, hessian_mm = _derivatives(probs_mp, weights_m)
    for _ in range(STEPS):
        step_m, gain = _newton_step(weights_m, gradient_m, hessian_mm)
        if _gap(gradient_m) < GAP or gain < enough:
            break
        start_m, before, length = weights_m, loss, 1.0
        weights_m = _moved(start_m, step_m)
        loss, gradient_m, hessian_mm = _derivatives(probs_mp, weights_m)
        while loss > before - 0.2 * length * gain + ROUNDING and length > 1e-3:
            length /= 2
            weights_m = _moved(start_m, length * step_m)
            loss, gradient_m, hessian_mm = _derivatives(probs_mp, weights_m)
    return weights_m, hessian_mm


def _newton_step(weights_m: Floats, gradient_m: Floats, hessian_mm: Floats) -> tuple[Floats, float]:
    """Return the step to the optimum of the quadratic model, scaled to sum 1, and how much it lowers the loss."""
    # Non-negative least squares in units in which the diagonal of the Hessian is 1. In directions that are as flat as
    # rounding errors (between equal members) the curvature is raised a little.
    scale_m = 1 / np.sqrt(np.diag(hessian_mm))
    values_m, vectors_mm = np.linalg.eigh(hessian_mm * scale_m * scale_m[:, None])
    roots_m = np.sqrt(np.maximum(values_m, FLAT))
    linear_m = (1 + gradient_m - hessian_mm @ weights_m) * scale_m
    target_m = -(vectors_mm.T @ linear_m) / roots_m
    there_m = scale_m * nnls(roots_m[:, None] * vectors_mm.T, target_m, maxiter=100 * len(weights_m))[0]
    step_m = there_m / there_m.sum() - weights_m
    return step_m, -float(gradient_m @ step_m) / 2


def _moved(weights_m: Floats, step_m: Floats) -> Floats:
    moved_m = np.maximum(weights_m + step_m, 0)
    return moved_m / moved_m.sum()


def _gap(gradient_m: Floats) -> float:
    """Return an upper bound of the distance to the smallest loss: the largest mean of p_m / q, minus 1."""
    return float(-gradient_m.min()) - 1


def _gradient(probs_mp: NDArray[np.float32], weights_m: Floats) -> Floats:
    """Return the gradient of the mean log-loss, summed in single precision within blocks that stay in the cache."""
    weights, gradient_m = weights_m.astype(np.float32), np.zeros(len(probs_mp))
    for start in range(0, probs_mp.shape[1], BLOCK):
        block = probs_mp[:, start : start + BLOCK]
        gradient_m -= block @ (1 / (weights @ block))
    return gradient_m / probs_mp.shape[1]


def _derivatives(probs_mp: NDArray[np.float32], weights_m: Floats) -> tuple[float, Floats, Floats]:
    """Return the mean log-loss with its gradient and Hessian, summed in blocks like :func:`_gradient`."""
    members, total = probs_mp.shape
    loss, gradient_m, hessian_mm = 0.0, np.zeros(members), np.zeros((members, members))
    for start in range(0, total, BLOCK):
        block = probs_mp[:, start : start + BLOCK]
        pooled = weights_m.astype(np.float32) @ block
        ratio = block * (1 / pooled)
        loss -= float(np.log(pooled).sum(dtype=np.float64))
        gradient_m -= ratio.sum(1)
        hessian_mm += ratio @ ratio.T
    return loss / total, gradient_m / total, hessian_mm / total


def fit_soft_iou_weights(
    probs_mcp: NDArray[np.float32], labels_p: NDArray[np.uint8], min_weight: float = 0.0
) -> NDArray[np.float64]:
    r"""Return the weights (members,) on the simplex with the largest soft mIoU of the pooled probabilities.

    .. math:: \text{mean}_c\ \frac{\sum_m w_m A_{mc}}{N_c + \sum_m w_m (B_{mc} - A_{mc})},\qquad
        A_{mc} = \sum_{p: y_p = c} p_{mcp},\quad B_{mc} = \sum_p p_{mcp},\quad N_c = |\{p: y_p = c\}|

    Because the pool is linear, two small tables replace all the pixels. A sum of ratios has local optima, so the search
    starts from equal weights and from every single member, and the best result is taken. Classes without a pixel do not
    count. With ``min_weight`` these are weights of what is left above this floor of every member, see `learned`.

    Reference:
        Rahman and Wang, Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation, 2016, eq. 4.
    """
    members, classes, _ = probs_mcp.shape
    counts_c = np.bincount(labels_p, minlength=classes).astype(np.float64)
    hits_mc = np.stack([probs_mcp[:, c, labels_p == c].sum(1, dtype=np.float64) for c in range(classes)], 1)
    union_mc = _floored(probs_mcp.sum(2, dtype=np.float64) - hits_mc, min_weight)
    hits_mc = _floored(hits_mc, min_weight)
    present = counts_c > 0
    hits_mc, union_mc, counts_c = hits_mc[:, present], union_mc[:, present], counts_c[present]

    def loss_and_gradient(weights_m: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        union_c = counts_c + weights_m @ union_mc
        iou_c = weights_m @ hits_mc / union_c
        return -float(iou_c.mean()), -((hits_mc - union_mc * iou_c) / union_c).mean(1)

    starts = [np.full(members, 1 / members), *np.eye(members)]
    ends = [minimise_on_simplex(loss_and_gradient, start_m) for start_m in starts]
    return without_dust(min(ends, key=lambda weights_m: round(loss_and_gradient(weights_m)[0], 9)))
