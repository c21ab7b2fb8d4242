"""Cross-entropy with class weights."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from ensemble.core.registry import Between, OneOf
from ensemble.losses.masking import log_probabilities, mean_over_weights, pixel_cost, weight_of_pixels
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.registry import LOSSES
from ensemble.losses.weights import Scheme, class_weights


def weighted_cross_entropy(
    logits_nchw: Tensor, labels_nhw: Tensor, *, weights_c: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Return the weighted mean of the negative log-likelihood, as in ``torch.nn.CrossEntropyLoss(weight)``.

    .. math:: L = -\\frac{\\sum_{i \\in V} \\sum_c q_{ic} w_c \\log p_{ic}}{\\sum_{i \\in V} w_{y_i}},
        \\qquad q_{ic} = (1 - \\epsilon)\\, [c = y_i] + \\epsilon / K

    Keras divides by the number of pixels instead, so a learning rate does not carry over from there.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        weights_c: weights >= 0, shape (c,); only their ratios matter.
        smoothing: epsilon in [0, 1), spread over all K output channels; torch's ``label_smoothing``.

    Returns:
        scalar in nats; 0 if no pixel has a weight above 0.

    Raises:
        EnsError: when the shapes do not fit each other.

    >>> import torch
    >>> logits = torch.tensor([[[[0.0, 0.0]], [[0.0, 100.0]]]])
    >>> weighted_cross_entropy(logits, torch.tensor([[[0, 1]]]), weights_c=torch.tensor([1.0, 3.0]))
    tensor(0.1733)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    costs_nhw = pixel_cost(log_probs_nchw, labels_nhw, smoothing=smoothing, weights_c=weights_c)
    return mean_over_weights(costs_nhw, labelled_nhw, weight_of_pixels(weights_c.to(log_probs_nchw), labels_nhw))


@LOSSES.register("weighted-ce")
def make_weighted_cross_entropy(
    counts_c: Tensor,
    *,
    scheme: Annotated[Scheme, OneOf(("inverse", "inverse-sqrt", "effective-number"))] = "inverse",
    cap: Annotated[float, Between(5.0, 100.0, log=True)] = 30.0,
    smoothing: Annotated[float, Between(0.0, 0.2)] = 0.0,
) -> nn.Module:
    """Cross-entropy weighted by class: rare classes count more, up to a cap."""
    check_range("smoothing", smoothing, 0.0, 1.0, open_high=True)
    return LossModule(weighted_cross_entropy, {"smoothing": smoothing}, class_weights(counts_c, scheme, cap))
