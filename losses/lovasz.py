"""Lovász-softmax loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensemble.losses.masking import log_probabilities
from ensemble.losses.module import LossModule
from ensemble.losses.overlap import mean_over_present, wrong_and_own
from ensemble.losses.registry import LOSSES


def lovasz_softmax_loss(logits_nchw: Tensor, labels_nhw: Tensor) -> Tensor:
    """Return the convex, piecewise linear extension of 1 - IoU to probabilities, averaged over the classes present.

    .. math:: L = \\frac{1}{|C|} \\sum_{c \\in C} \\sum_k m_{(k)} (J_k - J_{k-1}), \\qquad
        m_i = |y_{ic} - p_{ic}|, \\quad J_k = 1 - \\frac{|c| - f_k}{|c| + b_k}

    m are the errors of class c on the labelled pixels V of the batch, in falling order. Of the first k pixels, f_k
    belong to class c and b_k do not; |c| is the number of pixels of class c. J_k is the Jaccard loss if the k worst
    pixels are wrong and the others right, so L is 1 - mIoU on certain predictions. C are the classes with a pixel in V.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.

    Returns:
        scalar in [0, 1]; 0 if every pixel is void.

    Raises:
        EnsError: when the shapes do not fit each other.

    Reference:
        Berman et al., 2018, arXiv:1705.08790, eq. 8-13 and algorithm 1 (classes "present", over the batch).

    >>> import torch
    >>> lovasz_softmax_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))
    tensor(0.5000)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    wrong_nchw, own_nchw = wrong_and_own(log_probs_nchw, labels_nhw, labelled_nhw)
    errors_nchw = wrong_nchw + own_nchw * wrong_nchw.sum(1, keepdim=True)
    errors_cp, own_cp = errors_nchw.transpose(0, 1).flatten(1), own_nchw.transpose(0, 1).flatten(1)
    # A void pixel has the error 0, so it comes after every labelled pixel in the order and adds nothing.
    terms_c = (errors_cp * _slopes(errors_cp.detach(), own_cp)).sum(1)
    return mean_over_present(terms_c, own_cp.any(1))


def _slopes(errors_cp: Tensor, own_cp: Tensor) -> Tensor:
    """Return J_k - J_{k-1} at the place of each pixel.

    Neighbouring values differ by one part in a million, so they are not subtracted. Each case has its own formula
    instead: a pixel of the class takes one from the intersection, any other pixel adds one to the union.
    """
    order_cp = errors_cp.argsort(dim=1, descending=True)
    own_cp = own_cp.gather(1, order_cp)
    pixels_c1 = own_cp.sum(1, keepdim=True)
    intersection_cp = pixels_c1 - own_cp.cumsum(1)
    union_cp = (pixels_c1 + (1.0 - own_cp).cumsum(1)).clamp_min(1.0)
    other_cp = intersection_cp / (union_cp * (union_cp - 1.0).clamp_min(1.0))
    return torch.empty_like(errors_cp).scatter_(1, order_cp, torch.where(own_cp > 0, 1.0 / union_cp, other_cp))


@LOSSES.register("lovasz")
def make_lovasz(counts_c: Tensor) -> nn.Module:
    """Lovasz-softmax loss (Berman 2018): a convex surrogate of 1 - mIoU over the batch."""
    return LossModule(lovasz_softmax_loss)
