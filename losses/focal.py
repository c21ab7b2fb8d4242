"""Focal loss in its softmax form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensemble.losses.masking import log_probabilities, mean_over_labelled, pixel_nll, safe_power, weight_of_pixels
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.registry import LOSSES
from ensemble.losses.weights import Scheme, class_weights


def focal_loss(logits_nchw: Tensor, labels_nhw: Tensor, *, gamma: float, weights_c: Tensor | None = None) -> Tensor:
    """Cross-entropy that fades as a pixel becomes certain.

    .. math:: L = -\\frac{1}{|V|} \\sum_{i \\in V} \\alpha_{y_i} (1 - p_{i, y_i})^\\gamma \\log p_{i, y_i}

    p is the softmax. (smp's ``FocalLoss`` in multiclass mode is a sum of one-vs-all *sigmoid* losses instead, whose
    members' softmax outputs are not the likelihood that was trained.)

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        gamma: focusing exponent >= 0; 0 is cross-entropy.
        weights_c: alpha, shape (c,); None for 1. The mean is a plain one: alpha is not divided out.

    Returns:
        scalar in nats per labelled pixel.

    Raises:
        EnsError: shapes that do not fit.

    Reference:
        Lin et al., 2017, arXiv:1708.02002, eq. 4-5.

    >>> import torch
    >>> focal_loss(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]]), gamma=2.0)  # ln(2) / 4
    tensor(0.1733)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    nll_nhw = pixel_nll(log_probs_nchw, labels_nhw)
    values_nhw = safe_power(1.0 - torch.exp(-nll_nhw), gamma) * nll_nhw
    if weights_c is not None:
        values_nhw = values_nhw * weight_of_pixels(weights_c.to(values_nhw), labels_nhw)
    return mean_over_labelled(values_nhw, labelled_nhw)


@LOSSES.register("focal")
def make_focal(counts_c: Tensor, *, gamma: float = 2.0, scheme: Scheme = "none", cap: float = 30.0) -> nn.Module:
    """Focal loss (Lin 2017, softmax form): cross-entropy that ignores easy pixels."""
    check_range("gamma", gamma, 0.0)
    return LossModule(focal_loss, {"gamma": gamma}, class_weights(counts_c, scheme, cap))
