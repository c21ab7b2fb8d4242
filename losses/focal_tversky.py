"""Focal Tversky loss."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from ensemble.core.registry import Between
from ensemble.losses.masking import log_probabilities, mean_over_present, safe_power
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.overlap import one_minus_tversky, overlap
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
    """Tversky loss with each class's term raised to a power below 1, so that nearly solved classes still pull.

    .. math:: L = \\frac{1}{\\sum_C w_c} \\sum_{c \\in C} w_c (1 - TI_c)^{1 / \\gamma}, \\qquad
        TI_c = \\frac{TP_c + s}{TP_c + \\alpha FP_c + \\beta FN_c + s}

    The power is taken per class, as in the paper; smp's ``TverskyLoss(gamma)`` takes it of the mean over classes.
    Soft counts run over the labelled pixels of the whole batch, C are the classes present in its labels; the paper
    sums over classes where this takes the mean.

    The letters differ in the field. Here alpha prices false positives and beta false negatives, as in ``tversky``
    (Salehi): Abraham & Khan's alpha = 0.7 is our beta. And gamma is the paper's, in [1, 3], with the exponent
    1/gamma: code that says gamma = 0.75 means the exponent itself, our 4/3.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        alpha: price of a false positive, >= 0.
        beta: price of a false negative, >= 0.
        gamma: >= 1; 1 is Tversky.
        smooth: s in pixels, >= 0.
        weights_c: w in the mean over classes, shape (c,); None for 1.

    Returns:
        scalar in [0, 1]; 0 where every pixel is void.

    Raises:
        EnsError: shapes that do not fit.

    Reference:
        Abraham & Khan, 2018, arXiv:1810.07842, eq. 4.

    >>> import torch
    >>> focal_tversky_loss(torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 0, 0, 1]]]), gamma=2.0)
    tensor(0.7256)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    parts = overlap(log_probs_nchw, labels_nhw, labelled_nhw)
    terms = safe_power(one_minus_tversky(parts, alpha, beta, smooth), 1.0 / gamma)
    return mean_over_present(terms, parts.present, weights_c)


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
