"""Convex weights that minimise the log-loss of the pooled probabilities, or maximise their soft mIoU."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ensemble.pool.combiner import FLOOR
from ensemble.pool.evidence import Evidence
from ensemble.pool.pool import Pool
from ensemble.pool.registry import COMBINERS
from ensemble.pool.simplex import minimise_on_simplex, without_dust

GAP = 1e-6
STEPS = 50
MANY = 200_000
BLOCK = 1 << 14

Floats = NDArray[np.float64]


@COMBINERS.register("learned")
def learned(evidence: Evidence, *, objective: Literal["log-loss", "soft-miou"] = "log-loss") -> Pool:
    r"""Convex weights that minimise the log-loss on the labelled pixels.

    .. math:: \min_{w \ge 0,\ \sum_m w_m = 1}\ -\tfrac{1}{P} \sum_p \log \sum_m w_m\, p_{pm}(y_p)

    A convex problem, so the optimum value is unique; it satisfies the conditions of Karush, Kuhn and Tucker: the mean
    of :math:`p_{pm} / q_p` is 1 for every member with a positive weight and at most 1 for the others.

    Args:
        evidence: the members' probabilities.
        objective: ``log-loss``, or ``soft-miou``: the mean IoU with probabilities in place of decisions, which is not
            concave in the weights (see :func:`fit_soft_iou_weights`).

    Reference:
        Wolpert, Stacked generalization, 1992; Breiman, Stacked regressions, 1996 (non-negative weights).
    """
    if objective == "soft-miou":
        return Pool.weighted(fit_soft_iou_weights(evidence.probs_mcp, evidence.labels_p), evidence.classes)
    return Pool.weighted(fit_convex_weights(evidence.true_probs_pm), evidence.classes)


def fit_convex_weights(true_probs_pm: NDArray[np.float32]) -> NDArray[np.float64]:
    """Weights (members,) on the simplex with the smallest mean log-loss of (pixels, members) true-class probabilities.

    Newton's method: the quadratic model of the loss is minimised on the simplex, a step that does not lower the loss
    enough is halved. It ends when the largest mean of p_m / q is below 1 + 1e-6, which proves the loss to be within
    1e-6 of the smallest.

    Reference:
        Boyd and Vandenberghe, Convex optimization, 2004, section 9.5 (damped Newton); Jaggi, Revisiting Frank-Wolfe,
        2013, eq. 2 (the gap that proves the optimum).
    """
    probs = np.maximum(np.ascontiguousarray(true_probs_pm.T), np.float32(FLOOR))  # long rows are fast
    members = len(probs)
    weights_m = np.full(members, 1 / members)
    if probs.shape[1] > MANY:  # most of the way on a sixteenth of the pixels
        weights_m = fit_convex_weights(probs[:, ::16].T)
    for _ in range(STEPS):
        loss, gradient_m, hessian_mm = _derivatives(probs, weights_m)
        if -gradient_m.min() - 1 < GAP:
            break
        step_m = _newton_step(weights_m, gradient_m, hessian_mm)
        slope, length = float(gradient_m @ step_m), 1.0
        if -slope < GAP / 10:  # what is left to gain is below the rounding of the loss
            break
        while _log_loss(probs, weights_m + length * step_m) > loss + 0.1 * length * slope and length > 1e-3:
            length /= 2
        weights_m = np.maximum(weights_m + length * step_m, 0)
        weights_m = weights_m / weights_m.sum()
    return without_dust(weights_m)


def _newton_step(weights_m: Floats, gradient_m: Floats, hessian_mm: Floats) -> Floats:
    """From the weights to the smallest value on the simplex of the quadratic with these derivatives."""

    def model(at_m: Floats) -> tuple[float, Floats]:
        step_m = at_m - weights_m
        curved_m = hessian_mm @ step_m
        return float(gradient_m @ step_m + step_m @ curved_m / 2), gradient_m + curved_m

    return minimise_on_simplex(model, weights_m, precision=1e-14) - weights_m


def _derivatives(probs_mp: NDArray[np.float32], weights_m: Floats) -> tuple[float, Floats, Floats]:
    """Mean log-loss with its gradient and Hessian; sums in single precision within blocks that stay in the cache."""
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


def _log_loss(probs_mp: NDArray[np.float32], weights_m: Floats) -> float:
    pooled = np.maximum(weights_m, 0).astype(np.float32) @ probs_mp
    return -float(np.log(np.maximum(pooled, np.float32(1e-30))).mean(dtype=np.float64))


def fit_soft_iou_weights(probs_mcp: NDArray[np.float32], labels_p: NDArray[np.uint8]) -> NDArray[np.float64]:
    r"""Weights (members,) on the simplex with the largest soft mIoU of the pooled probabilities.

    .. math:: \text{mean}_c\ \frac{\sum_m w_m A_{mc}}{N_c + \sum_m w_m (B_{mc} - A_{mc})},\qquad
        A_{mc} = \sum_{p: y_p = c} p_{mcp},\quad B_{mc} = \sum_p p_{mcp},\quad N_c = |\{p: y_p = c\}|

    The pool being linear, two small tables hold all the pixels. A sum of ratios has local optima, so the search starts
    from equal weights and from every single member, and the best end is taken; classes without a pixel do not count.

    Reference:
        Rahman and Wang, Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation, 2016, eq. 4.
    """
    members, classes, _ = probs_mcp.shape
    counts_c = np.bincount(labels_p, minlength=classes).astype(np.float64)
    hits_mc = np.stack([probs_mcp[:, c, labels_p == c].sum(1, dtype=np.float64) for c in range(classes)], 1)
    union_mc = probs_mcp.sum(2, dtype=np.float64) - hits_mc
    present = counts_c > 0
    hits_mc, union_mc, counts_c = hits_mc[:, present], union_mc[:, present], counts_c[present]

    def loss_and_gradient(weights_m: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        union_c = counts_c + weights_m @ union_mc
        iou_c = weights_m @ hits_mc / union_c
        return -float(iou_c.mean()), -((hits_mc - union_mc * iou_c) / union_c).mean(1)

    starts = [np.full(members, 1 / members), *np.eye(members)]
    ends = [minimise_on_simplex(loss_and_gradient, start_m) for start_m in starts]
    return without_dust(min(ends, key=lambda weights_m: round(loss_and_gradient(weights_m)[0], 9)))
