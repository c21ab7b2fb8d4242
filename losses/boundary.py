"""Boundary loss: a wrong probability costs its distance to the pixels where it would be right."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensemble.losses.masking import log_probabilities, mean_over_labelled
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.overlap import wrong_and_own
from ensemble.losses.registry import LOSSES


def boundary_loss(logits_nchw: Tensor, labels_nhw: Tensor, *, reach: int = 16) -> Tensor:
    """Return the softmax times the signed distance to each class's boundary, minus its value for the right answer.

    .. math:: L = \\frac{1}{r\\, |V|} \\sum_{i \\in V} \\sum_c p_{ic} (\\phi_{ic} - \\phi_{i y_i}), \\qquad
        \\phi_{ic} = \\begin{cases} D_{ic} & c \\ne y_i \\\\ 1 - \\min_{k \\ne c} D_{ik} & c = y_i \\end{cases}

    D_ic is the Euclidean distance in pixels from pixel i to the nearest pixel of class c in its image, at most r. So
    phi is positive outside class c, falls to 0 on its outermost pixels and is negative further inside, as in Kervadec's
    code. Three things differ from that code. First, phi of the true class is subtracted; this changes no gradient, and
    makes the loss 0 for the right answer and never negative. Second, distances end at r; a class that the image lacks
    has the distance r too (Kervadec's phi is 0 there). Third, the loss is in units of r. Void is never a boundary:
    distances run across it from labelled pixel to labelled pixel.

    The loss depends on where a mistake is, and not on the number of mistakes: a missed thin structure costs about its
    width, a false one far away costs a lot. It therefore needs a partner, as in ``ce + 0.5*boundary`` or
    ``dice + boundary``.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        reach: r in pixels, 1 to 127; with 1 the loss is the mean of 1 - p of the true class.

    Returns:
        scalar in [0, 2); 0 if every pixel is void.

    Raises:
        EnsError: when the shapes do not fit each other.

    Reference:
        Kervadec et al., 2019, arXiv:1812.07032, eq. 5-6.

    >>> import torch
    >>> boundary_loss(torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 0, 0, 1]]]), reach=4)  # (5 + 3 + 1 + 1) / 2 / 4 / 4
    tensor(0.3125)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    wrong_nchw, own_nchw = wrong_and_own(log_probs_nchw, labels_nhw, labelled_nhw)
    own_nchw = own_nchw > 0
    distances_nchw = distance_to(own_nchw, reach).to(wrong_nchw.dtype).masked_fill(own_nchw, reach)
    depth_n1hw = distances_nchw.amin(1, keepdim=True) - 1.0  # of a pixel inside its own class
    return mean_over_labelled((wrong_nchw * (distances_nchw + depth_n1hw)).sum(1), labelled_nhw) / reach


def distance_to(mask_nchw: Tensor, reach: int) -> Tensor:
    """Return the Euclidean distance of every pixel to the nearest true pixel of its plane, at most ``reach``.

    The distances are exact: two sweeps take minima of squared distances, along rows and then along columns
    (Felzenszwalb & Huttenlocher, 2012, eq. 2). The work grows with the reach, but in 16-bit integers it takes less time
    than one library call per plane, and it stays on the device.

    Args:
        mask_nchw: bool (n, c, h, w).
        reach: largest distance, in pixels.

    Returns:
        float32 distances in pixels, (n, c, h, w).
    """
    squared = torch.where(mask_nchw, 0, reach * reach).to(torch.int16)
    return _sweep(_sweep(squared, 3, reach), 2, reach).clamp_max(reach * reach).float().sqrt()


def _sweep(cost: Tensor, dim: int, reach: int) -> Tensor:
    """Return the minimum over k of the cost shifted by k pixels along ``dim``, plus k^2, for abs(k) up to ``reach``."""
    best, size = cost.clone(), cost.shape[dim]
    for k in range(1, min(reach, size - 1) + 1):
        shifted, rest = cost + k * k, size - k
        for to, source in ((k, 0), (0, k)):
            view = best.narrow(dim, to, rest)
            torch.minimum(view, shifted.narrow(dim, source, rest), out=view)
    return best


@LOSSES.register("boundary")
def make_boundary(counts_c: Tensor, *, reach: int = 16) -> nn.Module:
    """Boundary loss (Kervadec 2019), for thin structures and with a partner: wrong probability times its distance."""
    check_range("reach", reach, 1, 127)  # 16 bits hold 2 * 127^2, but not 2 * 128^2
    return LossModule(boundary_loss, {"reach": reach})
