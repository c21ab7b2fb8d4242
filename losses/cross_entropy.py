"""Cross-entropy."""

from __future__ import annotations

from torch import Tensor, nn

from ensemble.losses.masking import log_probabilities, mean_over_labelled, pixel_nll
from ensemble.losses.module import LossModule
from ensemble.losses.registry import LOSSES


def cross_entropy(logits_nchw: Tensor, labels_nhw: Tensor) -> Tensor:
    """Mean negative log-likelihood of the labelled pixels.

    .. math:: L = -\\frac{1}{|V|} \\sum_{i \\in V} \\log p_{i, y_i}

    Differs from ``torch.nn.functional.cross_entropy(ignore_index=255)`` only where every pixel is void: 0, not NaN.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.

    Returns:
        scalar in nats per labelled pixel.

    Raises:
        EnsError: shapes that do not fit.

    >>> import torch
    >>> cross_entropy(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]]))
    tensor(0.6931)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    return mean_over_labelled(pixel_nll(log_probs_nchw, labels_nhw), labelled_nhw)


@LOSSES.register("ce")
def make_cross_entropy(counts_c: Tensor) -> nn.Module:
    """Cross-entropy: the mean of -log p of the true class over labelled pixels."""
    return LossModule(cross_entropy)
