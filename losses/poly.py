"""PolyLoss (Poly-1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensemble.losses.masking import log_probabilities, mean_over_weights, pixel_cost, weight_of_pixels
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.registry import LOSSES
from ensemble.losses.weights import Scheme, class_weights


def poly_loss(
    logits_nchw: Tensor, labels_nhw: Tensor, *, weights_c: Tensor, epsilon: float = 1.0, smoothing: float = 0.0
) -> Tensor:
    """Return a cross-entropy with another coefficient for the first term of its expansion in (1 - p).

    .. math:: L = \\frac{\\sum_{i \\in V} \\sum_c q_{ic} w_c \\bigl[-\\log p_{ic} + \\epsilon (1 - p_{ic})\\bigr]}
        {\\sum_{i \\in V} w_{y_i}}, \\qquad q_{ic} = (1 - s)\\, [c = y_i] + s / K

    -log p is the series of (1 - p)^j / j; Poly-1 replaces the coefficient 1 of its first term by 1 + epsilon. With
    epsilon above 0, pixels that are nearly right count more (the opposite of ``focal``); below 0 they count less. The
    paper has no weights; here they enter as in ``weighted-ce``, which is this loss with epsilon = 0.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        weights_c: weights >= 0, shape (c,); only their ratios matter.
        epsilon: >= -1; the paper tunes it per task.
        smoothing: s in [0, 1), spread over all K output channels, in both terms as in the paper's code.

    Returns:
        scalar >= 0; 0 if no pixel has a weight above 0.

    Raises:
        EnsError: when the shapes do not fit each other.

    Reference:
        Leng et al., 2022, arXiv:2204.12511, eq. 6.

    >>> import torch
    >>> poly_loss(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]]), weights_c=torch.ones(2))  # ln(2) + 1/2
    tensor(1.1931)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    costs_nhw = pixel_cost(
        log_probs_nchw,
        labels_nhw,
        lambda nll: nll - epsilon * torch.expm1(-nll),
        smoothing=smoothing,
        weights_c=weights_c,
    )
    return mean_over_weights(costs_nhw, labelled_nhw, weight_of_pixels(weights_c.to(log_probs_nchw), labels_nhw))


@LOSSES.register("poly")
def make_poly(
    counts_c: Tensor, *, epsilon: float = 1.0, smoothing: float = 0.0, scheme: Scheme = "none", cap: float = 30.0
) -> nn.Module:
    """PolyLoss (Leng 2022): cross-entropy plus epsilon times the probability missing from the true class."""
    check_range("epsilon", epsilon, -1.0)
    check_range("smoothing", smoothing, 0.0, 1.0, open_high=True)
    return LossModule(poly_loss, {"epsilon": epsilon, "smoothing": smoothing}, class_weights(counts_c, scheme, cap))
