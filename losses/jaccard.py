"""Soft Jaccard loss."""

from __future__ import annotations

from torch import Tensor, nn

from ensemble.losses.module import LossModule, check_range
from ensemble.losses.overlap import mean_over_present, tversky_terms
from ensemble.losses.registry import LOSSES
from ensemble.losses.weights import Scheme, class_weights


def jaccard_loss(
    logits_nchw: Tensor, labels_nhw: Tensor, *, smooth: float = 1e-7, weights_c: Tensor | None = None
) -> Tensor:
    """Return one minus the soft Jaccard index (IoU), averaged over the classes that the batch's labels hold.

    .. math:: L = \\frac{1}{\\sum_C w_c} \\sum_{c \\in C} w_c
        \\Bigl(1 - \\frac{\\sum_V p_c y_c + s}{\\sum_V p_c + \\sum_V y_c - \\sum_V p_c y_c + s}\\Bigr)

    Sums run over the labelled pixels V of the whole batch; C are the classes with a pixel in V. Jaccard is the Tversky
    index with alpha = beta = 1. ``lovasz`` is another surrogate of the IoU: both are exact on certain predictions, and
    ``lovasz`` is piecewise linear between them.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        smooth: s in pixels, >= 0.
        weights_c: w in the mean over classes, shape (c,); None means weights of 1.

    Returns:
        scalar in [0, 1]; 0 if every pixel is void.

    Raises:
        EnsError: when the shapes do not fit each other.

    Reference:
        Rahman & Wang, 2016, "Optimizing intersection-over-union in deep neural networks for image segmentation", eq. 3.

    >>> import torch
    >>> jaccard_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))  # 1 - .5 / 1.5
    tensor(0.6667)
    """
    terms, present = tversky_terms(logits_nchw, labels_nhw, 1.0, 1.0, smooth)
    return mean_over_present(terms, present, weights_c)


@LOSSES.register("jaccard")
def make_jaccard(counts_c: Tensor, *, smooth: float = 1e-7, scheme: Scheme = "none", cap: float = 30.0) -> nn.Module:
    """Soft Jaccard (IoU) loss over the batch, each present class counting the same."""
    check_range("smooth", smooth, 0.0)
    return LossModule(jaccard_loss, {"smooth": smooth}, class_weights(counts_c, scheme, cap))
