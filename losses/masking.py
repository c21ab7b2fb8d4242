"""Void pixels and precision: what every loss does before its own formula.

Shapes never depend on the data (no boolean indexing), so a batch costs the same whatever its share of void.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ensemble.core.errors import EnsError

VOID = 255


def log_probabilities(logits_nchw: Tensor, labels_nhw: Tensor) -> tuple[Tensor, Tensor]:
    """Log-softmax over the channels in at least float32, and the mask of labelled pixels.

    Logits under void are replaced by 0 first, so whatever a network writes there (even infinity) changes nothing and
    receives a gradient of exactly 0.

    Args:
        logits_nchw: scores before softmax, any float type; bfloat16 and float16 are computed in float32.
        labels_nhw: int64 class numbers 0..c-1, 255 where a pixel is void.

    Returns:
        log-probabilities (n, c, h, w) in nats, and a bool mask (n, h, w) that is true on labelled pixels.

    Raises:
        EnsError: shapes that do not fit each other, or labels that are not int64.
    """
    expected = (logits_nchw.shape[0], *logits_nchw.shape[2:]) if logits_nchw.ndim == 4 else None
    if tuple(labels_nhw.shape) != expected or labels_nhw.dtype != torch.int64:
        raise EnsError(
            f"expected logits (n, c, h, w) and int64 labels (n, h, w), got {tuple(logits_nchw.shape)} and "
            f"{labels_nhw.dtype} {tuple(labels_nhw.shape)}; resize or cast the labels to fit the logits"
        )
    void_nhw = labels_nhw == VOID
    wide_nchw = logits_nchw.float() if logits_nchw.dtype in (torch.bfloat16, torch.float16) else logits_nchw
    log_probs_nchw = F.log_softmax(wide_nchw.masked_fill(void_nhw.unsqueeze(1), 0.0), dim=1)
    return log_probs_nchw, ~void_nhw


def pixel_nll(log_probs_nchw: Tensor, labels_nhw: Tensor) -> Tensor:
    """-log p_y of every pixel in nats, shape (n, h, w); 0 on void. A label that is no channel raises."""
    return F.nll_loss(log_probs_nchw, labels_nhw, ignore_index=VOID, reduction="none")


def weight_of_pixels(weights_c: Tensor, labels_nhw: Tensor) -> Tensor:
    """Weight of each pixel's class, shape (n, h, w); 0 on void."""
    table = F.pad(weights_c, (0, VOID + 1 - weights_c.numel()))
    return table[labels_nhw]


def pixel_cost(
    log_probs_nchw: Tensor,
    labels_nhw: Tensor,
    cost: Callable[[Tensor], Tensor] = lambda nll: nll,
    *,
    smoothing: float = 0.0,
    weights_c: Tensor | None = None,
) -> Tensor:
    """Weighted cost of each pixel against its label, or against the label smoothed over all channels.

    .. math:: \\sum_c q_c\\, w_c\\, f(-\\log p_c), \\qquad q_c = (1 - \\epsilon)\\, y_c + \\epsilon / K

    Args:
        log_probs_nchw: log-softmax of the logits.
        labels_nhw: classes, 255 = void.
        cost: f, elementwise; the identity makes cross-entropy.
        smoothing: epsilon in [0, 1); K counts every output channel, as torch and keras do.
        weights_c: w, shape (c,); None for 1.

    Returns:
        costs (n, h, w), without meaning on void.

    Reference:
        Szegedy et al., 2016, arXiv:1512.00567, section 7 (label smoothing).
    """
    values_nhw = cost(pixel_nll(log_probs_nchw, labels_nhw))
    if weights_c is not None:
        values_nhw = values_nhw * weight_of_pixels(weights_c.to(values_nhw), labels_nhw)
    if smoothing == 0.0:
        return values_nhw
    every_nchw = cost(-log_probs_nchw)
    if weights_c is not None:
        every_nchw = every_nchw * weights_c.to(values_nhw).view(-1, 1, 1)
    return (1.0 - smoothing) * values_nhw + smoothing * every_nchw.mean(1)


def mean_over_labelled(values_nhw: Tensor, labelled_nhw: Tensor) -> Tensor:
    """Mean of the values on labelled pixels; 0 where there is none."""
    return values_nhw.masked_fill(~labelled_nhw, 0.0).sum() / labelled_nhw.sum().clamp_min(1)


def mean_over_weights(costs_nhw: Tensor, labelled_nhw: Tensor, weights_nhw: Tensor) -> Tensor:
    """Sum of the (already weighted) costs of labelled pixels over the sum of their weights; 0 where that is 0."""
    total = weights_nhw.sum()
    return costs_nhw.masked_fill(~labelled_nhw, 0.0).sum() * (total > 0) / torch.where(total > 0, total, 1.0)


def mean_over_present(terms: Tensor, present: Tensor, weights_c: Tensor | None = None) -> Tensor:
    """Weighted mean of the terms whose class has at least one labelled pixel; 0 where no class has one.

    Args:
        terms: one value per class, or per image and class: (c,) or (n, c).
        present: bool of the same shape.
        weights_c: weights >= 0, shape (c,); None for 1.
    """
    shares = present.to(terms.dtype)
    if weights_c is not None:
        shares = shares * weights_c.to(terms)
    total = shares.sum()
    return (terms * shares).sum() / torch.where(total > 0, total, 1.0)


def safe_power(base: Tensor, exponent: float) -> Tensor:
    """``base ** exponent`` for base >= 0 with a finite slope at 0.

    The slope of x^q with 0 < q < 1 is infinite at 0, and infinity times the zero slope of a saturated softmax is NaN.
    Below 1e-7 the power is therefore continued by the straight line to the origin: continuous, exact above, 0 at 0.
    """
    if exponent == 0.0 or exponent >= 1.0:
        return base.clamp_min(0.0).pow(exponent)
    tiny = 1e-7
    return torch.where(base > tiny, base.clamp_min(tiny).pow(exponent), base * tiny ** (exponent - 1.0))
