"""Focal loss in its softmax form."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from ensemble.core.registry import Between, OneOf
from ensemble.losses.masking import log_probabilities, mean_over_labelled, pixel_cost, safe_power
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.registry import LOSSES
from ensemble.losses.weights import Scheme, class_weights


def focal_loss(
    logits_nchw: Tensor,
    labels_nhw: Tensor,
    *,
    gamma: float = 2.0,
    smoothing: float = 0.0,
    weights_c: Tensor | None = None,
) -> Tensor:
    """Return a cross-entropy in which a pixel counts less, the more certain it is.

    .. math:: L = -\\frac{1}{|V|} \\sum_{i \\in V} \\sum_c q_{ic}\\, \\alpha_c (1 - p_{ic})^\\gamma \\log p_{ic},
        \\qquad q_{ic} = (1 - \\epsilon)\\, [c = y_i] + \\epsilon / K

    p is the softmax. (smp's ``FocalLoss`` in multiclass mode is a sum of one-vs-all *sigmoid* losses instead. The
    softmax of a network trained with it is not the likelihood that was trained.)

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        gamma: focusing exponent >= 0; 0 is cross-entropy.
        smoothing: epsilon in [0, 1), spread over all K output channels; keras' ``label_smoothing``.
        weights_c: alpha, shape (c,); None means weights of 1. The sum is divided by the number of pixels, not by alpha.

    Returns:
        scalar in nats per labelled pixel.

    Raises:
        EnsError: when the shapes do not fit each other.

    Reference:
        Lin et al., 2017, arXiv:1708.02002, eq. 4-5.

    >>> import torch
    >>> focal_loss(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]]), gamma=2.0)  # ln(2) / 4
    tensor(0.1733)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    values_nhw = pixel_cost(
        log_probs_nchw,
        labels_nhw,
        lambda nll: safe_power(1.0 - torch.exp(-nll), gamma) * nll,
        smoothing=smoothing,
        weights_c=weights_c,
    )
    return mean_over_labelled(values_nhw, labelled_nhw)


@LOSSES.register("focal")
def make_focal(
    counts_c: Tensor,
    *,
    gamma: Annotated[float, Between(0.5, 5.0)] = 2.0,
    smoothing: float = 0.0,
    scheme: Annotated[Scheme, OneOf(("none", "inverse-sqrt", "inverse"))] = "none",
    cap: float = 30.0,
) -> nn.Module:
    """Focal loss (Lin 2017, softmax form): cross-entropy that ignores easy pixels."""
    check_range("gamma", gamma, 0.0)
    check_range("smoothing", smoothing, 0.0, 1.0, open_high=True)
    return LossModule(focal_loss, {"gamma": gamma, "smoothing": smoothing}, class_weights(counts_c, scheme, cap))
