"""Soft Dice loss."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from ensemble.core.registry import OneOf
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.overlap import mean_over_present, tversky_terms
from ensemble.losses.registry import LOSSES
from ensemble.losses.weights import Scheme, class_weights


def dice_loss(
    logits_nchw: Tensor, labels_nhw: Tensor, *, smooth: float = 1e-7, weights_c: Tensor | None = None
) -> Tensor:
    """Return one minus the soft Dice coefficient, averaged over the classes that the batch's labels hold.

    .. math:: L = \\frac{1}{\\sum_C w_c} \\sum_{c \\in C} w_c
        \\Bigl(1 - \\frac{2 \\sum_V p_c y_c + s}{\\sum_V p_c + \\sum_V y_c + s}\\Bigr)

    Sums run over the labelled pixels V of the whole batch; C are the classes with a pixel in V. Dice is the Tversky
    index with alpha = beta = 1/2. In smp absent classes have no term either, but smp still divides by all channels. Its
    loss, and the step that it causes, therefore shrink with every absent class and every channel that is never a label;
    this loss does not.

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
        Milletari et al., 2016, arXiv:1606.04797 (without its squares in the denominator).

    >>> import torch
    >>> dice_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))
    tensor(0.5000)
    """
    # Dice is (2 TP + s) / (2 TP + FP + FN + s); both halves of the fraction are divided by 2.
    terms, present = tversky_terms(logits_nchw, labels_nhw, 0.5, 0.5, smooth / 2)
    return mean_over_present(terms, present, weights_c)


@LOSSES.register("dice")
def make_dice(
    counts_c: Tensor,
    *,
    smooth: float = 1e-7,
    scheme: Annotated[Scheme, OneOf(("none", "inverse-sqrt", "inverse"))] = "none",
    cap: float = 30.0,
) -> nn.Module:
    """Soft Dice loss: overlap per class over the batch, each present class counting the same."""
    check_range("smooth", smooth, 0.0)
    return LossModule(dice_loss, {"smooth": smooth}, class_weights(counts_c, scheme, cap))
