"""Generalized Dice loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensemble.losses.masking import log_probabilities
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.overlap import overlap
from ensemble.losses.registry import LOSSES


def generalized_dice_loss(logits_nchw: Tensor, labels_nhw: Tensor, *, power: float = 2.0) -> Tensor:
    """Return one minus a single Dice coefficient of all classes, each weighted by its inverse size in the batch.

    .. math:: L = 1 - \\frac{2 \\sum_{c \\in C} w_c \\sum_V p_c y_c}{\\sum_{c \\in C} w_c (\\sum_V p_c + \\sum_V y_c)},
        \\qquad w_c = \\Bigl(\\sum_V y_c\\Bigr)^{-q}

    Dice averages one score per class; this loss adds the classes up first. Sums run over the labelled pixels V of the
    whole batch; C are the classes with a pixel in V. The paper does not define the weight 1 / 0 of an absent class.
    MONAI and NiftyNet give it the largest weight of the batch, so one stray pixel of that class outweighs all others.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        power: q in [0, 2]; 2 is that of the paper, 1 is gentler for a class of few pixels, 0 weights all classes alike.

    Returns:
        scalar in [0, 1]; 0 if every pixel is void.

    Raises:
        EnsError: when the shapes do not fit each other.

    Reference:
        Sudre et al., 2017, arXiv:1707.03237, section 2.1 (GDL).

    >>> import torch
    >>> generalized_dice_loss(torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 0, 0, 1]]]))  # 1 - 2 * .667 / 3.556
    tensor(0.6250)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    parts = overlap(log_probs_nchw, labels_nhw, labelled_nhw)
    pixels = (parts.tp + parts.fn).detach()
    weights = torch.where(parts.present, pixels.clamp_min(1.0) ** -power, 0.0)
    wrong = (weights * (parts.fp + parts.fn)).sum()
    whole = wrong + 2.0 * (weights * parts.tp).sum()
    return wrong / torch.where(whole > 0, whole, 1.0)


@LOSSES.register("generalized-dice")
def make_generalized_dice(counts_c: Tensor, *, power: float = 2.0) -> nn.Module:
    """Generalized Dice loss (Sudre 2017): one Dice score of all classes, weighted by inverse squared size."""
    check_range("power", power, 0.0, 2.0)
    return LossModule(generalized_dice_loss, {"power": power})
