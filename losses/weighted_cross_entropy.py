"""Cross-entropy with class weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensemble.losses.masking import log_probabilities, pixel_nll, weight_of_pixels
from ensemble.losses.module import LossModule
from ensemble.losses.registry import LOSSES
from ensemble.losses.weights import Scheme, class_weights


def weighted_cross_entropy(logits_nchw: Tensor, labels_nhw: Tensor, *, weights_c: Tensor) -> Tensor:
    """Weighted mean of the negative log-likelihood, as ``torch.nn.CrossEntropyLoss(weight)`` defines it.

    .. math:: L = -\\frac{\\sum_{i \\in V} w_{y_i} \\log p_{i, y_i}}{\\sum_{i \\in V} w_{y_i}}

    Keras divides by the number of pixels instead, so a learning rate does not carry over from there.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        weights_c: weights >= 0, shape (c,); only their ratios matter.

    Returns:
        scalar in nats; 0 where no pixel has a weight above 0.

    Raises:
        EnsError: shapes that do not fit.

    >>> import torch
    >>> logits = torch.tensor([[[[0.0, 0.0]], [[0.0, 100.0]]]])
    >>> weighted_cross_entropy(logits, torch.tensor([[[0, 1]]]), weights_c=torch.tensor([1.0, 3.0]))
    tensor(0.1733)
    """
    log_probs_nchw, _ = log_probabilities(logits_nchw, labels_nhw)
    weights_nhw = weight_of_pixels(weights_c.to(log_probs_nchw), labels_nhw)
    total = weights_nhw.sum()
    return (weights_nhw * pixel_nll(log_probs_nchw, labels_nhw)).sum() / torch.where(total > 0, total, 1.0)


@LOSSES.register("weighted-ce")
def make_weighted_cross_entropy(counts_c: Tensor, *, scheme: Scheme = "inverse", cap: float = 30.0) -> nn.Module:
    """Cross-entropy weighted by class: rare classes count more, up to a cap."""
    return LossModule(weighted_cross_entropy, weights_c=class_weights(counts_c, scheme, cap))
