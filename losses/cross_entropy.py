"""Cross-entropy."""

from __future__ import annotations

from torch import Tensor, nn

from ensemble.losses.masking import log_probabilities, mean_over_labelled, pixel_cost
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.registry import LOSSES


def cross_entropy(logits_nchw: Tensor, labels_nhw: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the mean negative log-likelihood of the labelled pixels.

    .. math:: L = -\\frac{1}{|V|} \\sum_{i \\in V} \\sum_c q_{ic} \\log p_{ic},
        \\qquad q_{ic} = (1 - \\epsilon)\\, [c = y_i] + \\epsilon / K

    It equals ``torch.nn.CrossEntropyLoss(ignore_index=255, label_smoothing=smoothing)`` with one exception: if every
    pixel is void, it is 0 and not NaN. All K output channels share epsilon, even a channel that is never a label;
    ``weighted-ce`` with the scheme ``none`` leaves that channel out.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        smoothing: epsilon in [0, 1), the probability mass spread over all channels.

    Returns:
        scalar in nats per labelled pixel.

    Raises:
        EnsError: when the shapes do not fit each other.

    >>> import torch
    >>> cross_entropy(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]]))
    tensor(0.6931)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    return mean_over_labelled(pixel_cost(log_probs_nchw, labels_nhw, smoothing=smoothing), labelled_nhw)


@LOSSES.register("ce")
def make_cross_entropy(counts_c: Tensor, *, smoothing: float = 0.0) -> nn.Module:
    """Cross-entropy: the mean of -log p of the true class over labelled pixels."""
    check_range("smoothing", smoothing, 0.0, 1.0, open_high=True)
    return LossModule(cross_entropy, {"smoothing": smoothing})
