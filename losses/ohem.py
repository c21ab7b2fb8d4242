"""Cross-entropy of the hardest pixels (online hard example mining)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ensemble.losses.masking import log_probabilities, mean_over_weights, pixel_nll, weight_of_pixels
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.registry import LOSSES
from ensemble.losses.weights import Scheme, class_weights


def ohem_cross_entropy(
    logits_nchw: Tensor, labels_nhw: Tensor, *, weights_c: Tensor, threshold: float = 0.7, keep: float = 1 / 16
) -> Tensor:
    """Return the weighted cross-entropy of the hard pixels only; easy pixels are left out of the mean.

    .. math:: L = -\\frac{\\sum_{i \\in H} w_{y_i} \\log p_{i, y_i}}{\\sum_{i \\in H} w_{y_i}}, \\qquad
        H = \\{i \\in V : p_{i, y_i} \\le \\max(t, \\text{$k$-th smallest } p_{j, y_j}, j \\in V)\\},
        \\quad k = \\lceil \\rho |V| \\rceil

    H holds all labelled pixels of the batch whose true class has a probability of at most t. If these are fewer than
    the share rho of the labelled pixels, H holds the hardest pixels of that share instead, and all that tie with the
    last of them. Only the probability decides which pixels are hard; weights enter only the mean over H. Pixels outside
    H get no gradient. With a threshold of 1 this is ``weighted-ce``.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        weights_c: weights >= 0, shape (c,); only their ratios matter.
        threshold: t, a probability in [0, 1]; with 0 only the share counts.
        keep: rho in [0, 1], the smallest share of the labelled pixels; rounded up to a whole pixel.

    Returns:
        scalar in nats; 0 if no pixel of H has a weight above 0.

    Raises:
        EnsError: when the shapes do not fit each other.

    Reference:
        Shrivastava et al., 2016, arXiv:1604.03540; threshold 0.7 and 1/16 as in Yu et al.'s BiSeNet code.

    >>> import torch
    >>> logits = torch.tensor([[[[0.0, 0.0]], [[0.0, 9.0]]]])  # p = 1/2, then nearly 1
    >>> ohem_cross_entropy(logits, torch.tensor([[[0, 1]]]), weights_c=torch.ones(2))
    tensor(0.6931)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    nll_nhw = pixel_nll(log_probs_nchw, labels_nhw)
    hard_nhw = _hardest(nll_nhw.detach(), labelled_nhw, threshold, keep)
    weights_nhw = weight_of_pixels(weights_c.to(nll_nhw), labels_nhw) * hard_nhw
    return mean_over_weights(weights_nhw * nll_nhw, labelled_nhw, weights_nhw)


def _hardest(nll_nhw: Tensor, labelled_nhw: Tensor, threshold: float, keep: float) -> Tensor:
    """Return the mask of H.

    The search looks at a share of all pixels, which is at least that share of the labelled ones, so that no shape
    depends on the data.
    """
    most = max(1, math.ceil(keep * nll_nhw.numel()))
    worst = nll_nhw.masked_fill(~labelled_nhw, -1.0).flatten().topk(most).values
    rank = (keep * labelled_nhw.sum()).ceil().long().clamp(1, most) - 1
    easiest_kept = worst.gather(0, rank.unsqueeze(0)).clamp_max(-math.log(threshold) if threshold > 0 else math.inf)
    return labelled_nhw & (nll_nhw >= easiest_kept)


@LOSSES.register("ohem-ce")
def make_ohem_cross_entropy(
    counts_c: Tensor,
    *,
    threshold: float = 0.7,
    keep: float = 1 / 16,
    scheme: Scheme = "none",
    cap: float = 30.0,
) -> nn.Module:
    """Cross-entropy of hard pixels only: true class at most at the threshold, and at least the hardest share."""
    check_range("threshold", threshold, 0.0, 1.0)
    check_range("keep", keep, 0.0, 1.0)
    return LossModule(ohem_cross_entropy, {"threshold": threshold, "keep": keep}, class_weights(counts_c, scheme, cap))
