"""Convex weights that minimise the log-loss of the pooled probabilities, or maximise their soft mIoU."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.convex_weights import fit_convex_weights
from ensemble.combining.fit_data import FitData
from ensemble.combining.pool import Pool
from ensemble.combining.registry import COMBINERS
from ensemble.combining.simplex import minimise_on_simplex, without_dust
from ensemble.core.errors import EnsError


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
