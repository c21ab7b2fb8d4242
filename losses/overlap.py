"""Soft true positives, false positives and false negatives per class: the parts of Dice and its relatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Overlap(NamedTuple):
    """Soft counts in pixels, each of shape (c,), or (n, c) when kept per image."""

    tp: Tensor
    fp: Tensor
    fn: Tensor
    present: Tensor  # bool: the class has at least one labelled pixel


def overlap(log_probs_nchw: Tensor, labels_nhw: Tensor, labelled_nhw: Tensor, *, per_image: bool = False) -> Overlap:
    """Soft counts over the labelled pixels of the batch (or of each image).

    .. math:: TP_c = \\sum_{y=c} p_c,\\quad FN_c = \\sum_{y=c} (1 - p_c),\\quad FP_c = \\sum_{y \\ne c} p_c

    FN is summed as the probability given to the other classes rather than as a difference of large sums, so that
    1 - Dice keeps its digits when it is near 0 and can never be negative. (expm1 would do the same at ten times the
    time.)

    Args:
        log_probs_nchw: log-softmax of the logits.
        labels_nhw: classes; labelled_nhw: true where not void (both from ``log_probabilities``).
        per_image: keep the image axis.
    """
    dims = (2, 3) if per_image else (0, 2, 3)
    wrong_nchw, own_nchw = wrong_and_own(log_probs_nchw, labels_nhw, labelled_nhw)
    fn = (own_nchw * wrong_nchw.sum(1, keepdim=True)).sum(dims)
    pixels = own_nchw.sum(dims)
    return Overlap(tp=pixels - fn, fp=wrong_nchw.sum(dims), fn=fn, present=pixels > 0)


def wrong_and_own(log_probs_nchw: Tensor, labels_nhw: Tensor, labelled_nhw: Tensor) -> tuple[Tensor, Tensor]:
    """Probability given to each class that is not the label, and the one-hot labels; both (n, c, h, w), 0 on void."""
    # Floats, because multiplying by a bool mask is several times slower on a CPU. A scatter, because it refuses a
    # label that is no channel; void pixels write a 0.
    labelled_n1hw = labelled_nhw.unsqueeze(1).to(log_probs_nchw.dtype)
    index_n1hw = labels_nhw.masked_fill(~labelled_nhw, 0).unsqueeze(1)
    own_nchw = torch.zeros_like(log_probs_nchw, requires_grad=False).scatter_(1, index_n1hw, labelled_n1hw)
    return log_probs_nchw.exp() * (labelled_n1hw - own_nchw), own_nchw


def one_minus_tversky(parts: Overlap, fp_weight: float, fn_weight: float, smooth: float) -> Tensor:
    """1 - (TP + s) / (TP + a FP + b FN + s) of each class, in [0, 1], written without the subtraction.

    Args:
        parts: soft counts in pixels.
        fp_weight: a.
        fn_weight: b.
        smooth: s in pixels.
    """
    wrong = fp_weight * parts.fp + fn_weight * parts.fn
    # An absent class that nothing predicts is 0/0 when s is 0; the floor makes it 0.
    return wrong / (parts.tp + wrong + smooth).clamp_min(1e-7)
