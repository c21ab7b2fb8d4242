"""Compute class weights from the pixel counts of the training images."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ensemble.core.errors import EnsError, UnknownName
from ensemble.losses.module import check_range

Scheme = Literal["none", "inverse", "inverse-sqrt", "median-frequency", "effective-number"]


def class_weights(counts_c: Tensor, scheme: Scheme = "inverse", cap: float = 30.0) -> Tensor:
    """Return the weight of each output channel, with mean 1 over the classes that have labelled pixels.

    Let n_c be the labelled pixels of class c, and N their sum. Before capping and normalising the weights are:

    ==================  ==========================================================================
    none                1
    inverse             N / n_c
    inverse-sqrt        sqrt(N / n_c)
    median-frequency    median(f) / f_c with f_c = n_c / N
    effective-number    (1 - b) / (1 - b^{n_c}) with b = 1 - 1/N
    ==================  ==========================================================================

    Then w_c = min(w_c, cap * min w), and then w_c is divided by the mean. A channel without a labelled pixel gets 0.

    Eigen & Fergus divide by the pixels of the *images that hold* class c. Here only counts are known, so f_c is the
    share of all pixels. ``median-frequency`` then differs from ``inverse`` only in scale, which the normalisation
    removes: the two give the same weights. Cui et al. choose b by hand from 0.9 to 0.9999; with millions of pixels
        these
    values make all classes equal. Here b follows the data: w_c is close to 1 / (1 - exp(-f_c)), which is the inverse
    count for rare classes and flatter than ``inverse`` among common ones.

    Args:
        counts_c: labelled pixels of each output channel, shape (c,), numbers >= 0, at least one above 0.
        scheme: a row of the table.
        cap: largest allowed ratio of the largest to the smallest weight, >= 1; ``inf`` for no cap.

    Returns:
        float32 weights, shape (c,).

    Raises:
        EnsError: when the counts have a wrong shape, are negative, not finite or all 0, or when the cap is below 1.
        UnknownName: when the scheme does not exist.

    Reference:
        Eigen & Fergus, 2015, arXiv:1411.4734 (median frequency); Cui et al., 2019, arXiv:1901.05555, eq. 2-4.

    >>> class_weights(torch.tensor([90, 10, 0]), "inverse")
    tensor([0.2000, 1.8000, 0.0000])
    """
    counts = checked_counts(counts_c)
    check_range("cap", cap, 1.0, finite=False)
    counted = counts > 0
    used = counts[counted]
    weights = _raw_weights(used, scheme)
    weights = weights.clamp_max(cap * float(weights.min()))
    result = torch.zeros_like(counts)
    result[counted] = weights / weights.mean()
    return result.float()


def checked_counts(counts_c: Tensor) -> Tensor:
    """Return the counts in float64.

    Raises:
        EnsError: when they are not a list of numbers >= 0 with at least one above 0.
    """
    counts = counts_c.detach().to(torch.float64)
    if counts.ndim != 1 or not bool(torch.isfinite(counts).all()) or bool((counts < 0).any()):
        raise EnsError(f"expected class counts (c,), finite and >= 0, got {counts_c.tolist()}; count the labels again")
    if not bool((counts > 0).any()):
        raise EnsError(
            "expected at least one labelled pixel in the training images, but every pixel is void; "
            "check the masks and which value means void"
        )
    return counts


def _raw_weights(counts: Tensor, scheme: str) -> Tensor:
    total = counts.sum()
    match scheme:
        case "none":
            return torch.ones_like(counts)
        case "inverse":
            return total / counts
        case "inverse-sqrt":
            return (total / counts).sqrt()
        case "median-frequency":
            return counts.quantile(0.5) / counts
        case "effective-number":
            # expm1 and log1p, because 1 - b^n would lose every digit when N is in the millions.
            return -1.0 / total / torch.expm1(counts * torch.log1p(-1.0 / total))
        case _:
            raise UnknownName("value", scheme, get_args(Scheme), where="for option scheme")
