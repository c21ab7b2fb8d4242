"""Log-cosh Dice loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensemble.losses.dice import dice_loss
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.registry import LOSSES
from ensemble.losses.weights import Scheme, class_weights


def log_cosh_dice_loss(
    logits_nchw: Tensor, labels_nhw: Tensor, *, smooth: float = 1e-7, weights_c: Tensor | None = None
) -> Tensor:
    """Return the logarithm of the hyperbolic cosine of the Dice loss.

    .. math:: L = \\log \\cosh L_{Dice}

    It is about half the square of the Dice loss. Its slope, the tanh of the Dice loss, falls as the overlap grows, so
    steps become smaller towards the end of training.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        smooth: s of the Dice loss in pixels, >= 0.
        weights_c: w in the mean over classes, shape (c,); None means weights of 1.

    Returns:
        scalar in [0, log cosh 1 = 0.434]; 0 if every pixel is void.

    Raises:
        EnsError: when the shapes do not fit each other.

    Reference:
        Jadon, 2020, arXiv:2006.14822, section II-N.

    >>> import torch
    >>> log_cosh_dice_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))  # log cosh .5
    tensor(0.1201)
    """
    dice = dice_loss(logits_nchw, labels_nhw, smooth=smooth, weights_c=weights_c)
    # cosh x is written as 1 + 2 sinh(x/2)^2, so that a small loss keeps its digits.
    return torch.log1p(2.0 * torch.sinh(0.5 * dice).square())


@LOSSES.register("log-cosh-dice")
def make_log_cosh_dice(
    counts_c: Tensor, *, smooth: float = 1e-7, scheme: Scheme = "none", cap: float = 30.0
) -> nn.Module:
    """Log-cosh Dice loss (Jadon 2020): Dice whose slope fades as the overlap grows."""
    check_range("smooth", smooth, 0.0)
    return LossModule(log_cosh_dice_loss, {"smooth": smooth}, class_weights(counts_c, scheme, cap))
