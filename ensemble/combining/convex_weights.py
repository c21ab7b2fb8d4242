"""The convex weights of members with the smallest log-loss: the exact optimum, with a proof."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import FLOOR
from ensemble.combining.simplex import without_dust

GAP = 1e-6
GAIN = 1e-9
ROUNDING = 1e-7  # of the loss, in single precision
FLAT = 1e-7
STEPS = 50
THIN, SAMPLE = 16, 1 << 13  # the sample is every 16th pixel, if these are at least 8,192
BLOCK = 1 << 14

Floats = NDArray[np.float64]


def log_loss(true_probs_pm: NDArray[np.float32], weights_m: Floats) -> float:
    """Return the mean log-loss of weighted members, from probabilities of the true class (pixels, members)."""
    pooled_p = true_probs_pm @ weights_m.astype(np.float32)
    return -float(np.log(np.maximum(pooled_p, np.float32(FLOOR))).mean(dtype=np.float64))


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
    from scipy.optimize import nnls  # noqa: PLC0415  (a third of a second that training does not need)

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
