"""Focal Tversky loss."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from ensemble.core.registry import Between
from ensemble.losses.masking import safe_power
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.overlap import mean_over_present, tversky_terms
from ensemble.losses.registry import LOSSES
from ensemble.losses.tversky import check_prices
from ensemble.losses.weights import Scheme, class_weights


def focal_tversky_loss(
    logits_nchw: Tensor,
    labels_nhw: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    smooth: float = 1e-7,
    weights_c: Tensor | None = None,
) -> Tensor:
    """Return a Tversky loss with the term of each class raised to a power of at most 1.

    The power keeps a useful gradient for classes that are nearly solved.

    .. math:: L = \\frac{1}{\\sum_C w_c} \\sum_{c \\in C} w_c (1 - TI_c)^{1 / \\gamma}, \\qquad
        TI_c = \\frac{TP_c + s}{TP_c + \\alpha FP_c + \\beta FN_c + s}

    The power is taken per class, as in the paper; smp's ``TverskyLoss(gamma)`` takes the power of the mean over
    classes. Soft counts run over the labelled pixels of the whole batch; C are the classes present in its labels. The
    paper takes the sum over classes, this loss the mean. With gamma = 1 it is ``tversky``.

    Papers use the letters differently. Here alpha is the price of false positives and beta that of false negatives, as
    in ``tversky`` (Salehi): Abraham & Khan's alpha = 0.7 is our beta. gamma is that of the paper, in [1, 3], with the
    exponent 1/gamma. Code with gamma = 0.75 means the exponent itself; here it is gamma = 4/3.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        alpha: price of a false positive, >= 0.
        beta: price of a false negative, >= 0.
        gamma: >= 1; 1 is Tversky.
        smooth: s in pixels, >= 0.
        weights_c: w in the mean over classes, shape (c,); None means weights of 1.

    Returns:
        scalar in [0, 1]; 0 if every pixel is void.

    Raises:
        EnsError: when the shapes do not fit each other.

    Reference:
        Abraham & Khan, 2018, arXiv:1810.07842, eq. 4.

    >>> import torch
    >>> focal_tversky_loss(torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 0, 0, 1]]]), gamma=2.0)
    tensor(0.7256)
    """
    terms, present = tversky_terms(logits_nchw, labels_nhw, alpha, beta, smooth)
    return mean_over_present(safe_power(terms, 1.0 / gamma), present, weights_c)


@LOSSES.register("focal-tversky")
def make_focal_tversky(
    counts_c: Tensor,
    *,
    alpha: Annotated[float, Between(0.1, 0.9)] = 0.3,
    beta: Annotated[float, Between(0.1, 0.9)] = 0.7,
    gamma: Annotated[float, Between(1.0, 3.0)] = 4 / 3,
    smooth: float = 1e-7,
    scheme: Scheme = "none",
    cap: float = 30.0,
) -> nn.Module:
    """Focal Tversky loss (Abraham & Khan 2018): Tversky with the power 1/gamma of each class's term."""
    check_prices(alpha, beta)
    check_range("gamma", gamma, 1.0)
    check_range("smooth", smooth, 0.0)
    options = {"alpha": alpha, "beta": beta, "gamma": gamma, "smooth": smooth}
    return LossModule(focal_tversky_loss, options, class_weights(counts_c, scheme, cap))
