"""Tversky loss."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from ensemble.core.errors import EnsError
from ensemble.core.registry import Between
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.overlap import mean_over_present, tversky_terms
from ensemble.losses.registry import LOSSES
from ensemble.losses.weights import Scheme, class_weights


def tversky_loss(
    logits_nchw: Tensor,
    labels_nhw: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1e-7,
    weights_c: Tensor | None = None,
) -> Tensor:
    """Return a Dice loss with separate prices for false positives and false negatives, averaged over classes present.

    .. math:: L = \\frac{1}{\\sum_C w_c} \\sum_{c \\in C} w_c
        \\Bigl(1 - \\frac{TP_c + s}{TP_c + \\alpha FP_c + \\beta FN_c + s}\\Bigr)

    Soft counts run over the labelled pixels of the whole batch; C are the classes present in its labels. With
    alpha = beta = 1/2 this is Dice (with twice its smooth), and with alpha = beta = 1 it is Jaccard. Others swap the
    letters: the alpha of Abraham & Khan and of keras is the price of false negatives.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        alpha: price of a false positive, >= 0.
        beta: price of a false negative, >= 0.
        smooth: s in pixels, >= 0.
        weights_c: w in the mean over classes, shape (c,); None means weights of 1.

    Returns:
        scalar in [0, 1]; 0 if every pixel is void.

    Raises:
        EnsError: when the shapes do not fit each other.

    Reference:
        Salehi et al., 2017, arXiv:1706.05721, eq. 4.

    >>> import torch
    >>> tversky_loss(torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 0, 0, 1]]]))  # (1.2/2.7 + 0.8/1.3) / 2
    tensor(0.5299)
    """
    terms, present = tversky_terms(logits_nchw, labels_nhw, alpha, beta, smooth)
    return mean_over_present(terms, present, weights_c)


@LOSSES.register("tversky")
def make_tversky(
    counts_c: Tensor,
    *,
    alpha: Annotated[float, Between(0.1, 0.9)] = 0.3,
    beta: Annotated[float, Between(0.1, 0.9)] = 0.7,
    smooth: float = 1e-7,
    scheme: Scheme = "none",
    cap: float = 30.0,
) -> nn.Module:
    """Tversky loss: Dice that prices false positives at alpha and false negatives at beta."""
    check_prices(alpha, beta)
    check_range("smooth", smooth, 0.0)
    options = {"alpha": alpha, "beta": beta, "smooth": smooth}
    return LossModule(tversky_loss, options, class_weights(counts_c, scheme, cap))


def check_prices(alpha: float, beta: float) -> None:
    """Raise an error if a price is below 0, or if both are 0."""
    check_range("alpha", alpha, 0.0)
    check_range("beta", beta, 0.0)
    if alpha + beta == 0:
        raise EnsError(
            "expected option alpha or beta above 0, got 0 for both, which makes the loss always 0; raise one"
        )
