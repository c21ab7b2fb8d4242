"""Log-probabilities, the cost of each pixel, and means over pixels: the parts of losses that treat pixels one by one.

Void is handled here once: every function ignores void pixels. Shapes never depend on the data (there is no boolean
indexing), so a batch takes the same time whatever its share of void.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ensemble.core.errors import EnsError
from ensemble.core.void import VOID


def log_probabilities(logits_nchw: Tensor, labels_nhw: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-softmax over the channels, in at least float32, and the mask of labelled pixels.

    Logits of void pixels are replaced by 0 first, unless all are finite. So the values that a network writes there,
    even infinity, change nothing and receive a gradient of exactly 0.

    Args:
        logits_nchw: scores before softmax, any float type; bfloat16 and float16 are computed in float32.
        labels_nhw: int64 class numbers 0..c-1, 255 where a pixel is void.

    Returns:
        log-probabilities (n, c, h, w) in nats, and a bool mask (n, h, w) that is true on labelled pixels.

    Raises:
        EnsError: when the shapes do not fit each other, or the labels are not int64.
    """
    expected = (logits_nchw.shape[0], *logits_nchw.shape[2:]) if logits_nchw.ndim == 4 else None
    if tuple(labels_nhw.shape) != expected or labels_nhw.dtype != torch.int64:
        raise EnsError(
            f"expected logits (n, c, h, w) and int64 labels (n, h, w), got {tuple(logits_nchw.shape)} and "
            f"{labels_nhw.dtype} {tuple(labels_nhw.shape)}; resize or cast the labels to fit the logits"
        )
    void_nhw = labels_nhw == VOID
    wide_nchw = logits_nchw.float() if logits_nchw.dtype in (torch.bfloat16, torch.float16) else logits_nchw
    if not _surely_finite(wide_nchw):
        wide_nchw = wide_nchw.masked_fill(void_nhw.unsqueeze(1), 0.0)
    return F.log_softmax(wide_nchw, dim=1), ~void_nhw


def _surely_finite(logits_nchw: Tensor) -> bool:
    """Return whether all logits are finite, so that those of void pixels need no replacement; False on a GPU.

    Finite logits of void pixels change neither a loss nor a gradient, and to replace them takes a CPU as long as the
    rest of a cross-entropy. On a GPU it is cheaper than waiting for the answer.
    """
    return logits_nchw.device.type == "cpu" and bool(logits_nchw.detach().sum().isfinite())


def pixel_nll(log_probs_nchw: Tensor, labels_nhw: Tensor) -> Tensor:
    """Return -log p_y of every pixel in nats, shape (n, h, w); it is 0 on void.

    Raises:
        IndexError: when a label is neither a channel nor void (on some devices RuntimeError).
    """
    return F.nll_loss(log_probs_nchw, labels_nhw, ignore_index=VOID, reduction="none")


def weight_of_pixels(weights_c: Tensor, labels_nhw: Tensor) -> Tensor:
    """Return the weight of each pixel's class, shape (n, h, w); it is 0 on void."""
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
    """Return the weighted cost of each pixel, for its label or for the label smoothed over all channels.

    .. math:: \\sum_c q_c\\, w_c\\, f(-\\log p_c), \\qquad q_c = (1 - \\epsilon)\\, y_c + \\epsilon / K

    Args:
        log_probs_nchw: log-softmax of the logits.
        labels_nhw: classes, 255 = void.
        cost: f, elementwise; the identity gives cross-entropy.
        smoothing: epsilon in [0, 1); K counts every output channel, as torch and keras do.
        weights_c: w, shape (c,); None means weights of 1.

    Returns:
        costs (n, h, w); the values on void have no meaning.

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
    """Return the mean of the values on labelled pixels; it is 0 if every pixel is void. All values are finite."""
    return (values_nhw * labelled_nhw).sum() / labelled_nhw.sum().clamp_min(1)


def mean_over_weights(costs_nhw: Tensor, labelled_nhw: Tensor, weights_nhw: Tensor) -> Tensor:
    """Return the sum of the costs of labelled pixels, which are weighted already, divided by the sum of the weights.

    It is 0 if the weights sum to 0. All costs are finite.
    """
    total = weights_nhw.sum()
    return (costs_nhw * labelled_nhw).sum() * (total > 0) / torch.where(total > 0, total, 1.0)


def safe_power(base: Tensor, exponent: float) -> Tensor:
    """Return ``base ** exponent`` for base >= 0, with a finite slope at 0.

    The slope of x^q with 0 < q < 1 is infinite at 0, and infinity times the zero slope of a saturated softmax is NaN.
    Below 1e-7 the power is therefore replaced by the straight line to the origin. The result is continuous, exact above
    1e-7, and 0 at 0.
    """
    if exponent == 0.0 or exponent >= 1.0:
        return base.clamp_min(0.0).pow(exponent)
    tiny = 1e-7
    return torch.where(base > tiny, base.clamp_min(tiny).pow(exponent), base * tiny ** (exponent - 1.0))
