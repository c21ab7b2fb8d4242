"""Soft counts per class, and the mean over the classes present: the parts of Dice and other losses of regions.

Soft counts are sums of probabilities: a pixel of class c with p_c = 0.8 adds 0.8 to the true positives of c and 0.2 to
its false negatives.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ensemble.losses.masking import log_probabilities


class Overlap(NamedTuple):
    """Soft counts in pixels, each of shape (c,), or (n, c) when they are kept per image."""

    tp: Tensor
    """True positives."""
    fp: Tensor
    """False positives."""
    fn: Tensor
    """False negatives."""
    present: Tensor
    """Bool: the class has at least one labelled pixel."""


def overlap(log_probs_nchw: Tensor, labels_nhw: Tensor, labelled_nhw: Tensor, *, per_image: bool = False) -> Overlap:
    """Return the soft counts of each class over the labelled pixels of the batch, or of each image.

    .. math:: TP_c = \\sum_{y=c} p_c,\\quad FN_c = \\sum_{y=c} (1 - p_c),\\quad FP_c = \\sum_{y \\ne c} p_c

    FN is the sum of the probabilities of the other classes, and not a difference of large sums. So 1 - Dice keeps its
    digits when it is near 0, and it can never be negative. (expm1 would do the same in ten times the time.)

    Args:
        log_probs_nchw: log-softmax of the logits, from `log_probabilities`.
        labels_nhw: int64 classes, 255 = void.
        labelled_nhw: true on labelled pixels, from `log_probabilities`.
        per_image: whether to keep the image axis.
    """
    dims = (2, 3) if per_image else (0, 2, 3)
    wrong_nchw, own_nchw = wrong_and_own(log_probs_nchw, labels_nhw, labelled_nhw)
    fn = (own_nchw * wrong_nchw.sum(1, keepdim=True)).sum(dims)
    pixels = own_nchw.sum(dims)
    return Overlap(tp=pixels - fn, fp=wrong_nchw.sum(dims), fn=fn, present=pixels > 0)


def wrong_and_own(log_probs_nchw: Tensor, labels_nhw: Tensor, labelled_nhw: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probabilities of the classes that are not the label, and the one-hot labels.

    Both have the shape (n, c, h, w) and are 0 on void.
    """
    # The masks are floats, because multiplying by a bool mask is several times slower on a CPU. The one-hot labels are
    # scattered, because scatter_ raises an error for a label that is no channel; void pixels write a 0.
    labelled_n1hw = labelled_nhw.unsqueeze(1).to(log_probs_nchw.dtype)
    index_n1hw = labels_nhw.masked_fill(~labelled_nhw, 0).unsqueeze(1)
    own_nchw = torch.zeros_like(log_probs_nchw, requires_grad=False).scatter_(1, index_n1hw, labelled_n1hw)
    return log_probs_nchw.exp() * (labelled_n1hw - own_nchw), own_nchw


def tversky_terms(
    logits_nchw: Tensor, labels_nhw: Tensor, fp_weight: float, fn_weight: float, smooth: float
) -> tuple[Tensor, Tensor]:
    """Return `one_minus_tversky` of each class over the labelled pixels of the batch, and which classes are present.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        fp_weight, fn_weight, smooth: as in `one_minus_tversky`.
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    parts = overlap(log_probs_nchw, labels_nhw, labelled_nhw)
    return one_minus_tversky(parts, fp_weight, fn_weight, smooth), parts.present


def one_minus_tversky(parts: Overlap, fp_weight: float, fn_weight: float, smooth: float) -> Tensor:
    """Return 1 - (TP + s) / (TP + a FP + b FN + s) of each class, in [0, 1].

    The ratio is the Tversky index. a = b = 1/2 makes it Dice, a = b = 1 makes it Jaccard (IoU). The formula is computed
    without the subtraction, which would cost digits near 0.

    Args:
        parts: soft counts in pixels.
        fp_weight: a, the price of a false positive.
        fn_weight: b, the price of a false negative.
        smooth: s in pixels.
    """
    wrong = fp_weight * parts.fp + fn_weight * parts.fn
    # If s is 0, an absent class that nothing predicts gives 0/0; the lower limit makes it 0.
    return wrong / (parts.tp + wrong + smooth).clamp_min(1e-7)


def mean_over_present(terms: Tensor, present: Tensor, weights_c: Tensor | None = None) -> Tensor:
    """Return the weighted mean of the terms of the classes that are present; it is 0 if no class is present.

    Args:
        terms: one value per class, or per image and class: (c,) or (n, c).
        present: bool of the same shape; the class has at least one labelled pixel.
        weights_c: weights >= 0, shape (c,); None means weights of 1.
    """
    shares = present.to(terms.dtype)
    if weights_c is not None:
        shares = shares * weights_c.to(terms)
    total = shares.sum()
    return (terms * shares).sum() / torch.where(total > 0, total, 1.0)
