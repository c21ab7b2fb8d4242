"""Unified focal loss for many classes."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import torch
from torch import Tensor, nn

from ensemble.core.errors import UnknownName
from ensemble.core.registry import Between
from ensemble.losses.masking import log_probabilities, mean_over_labelled, pixel_nll, safe_power
from ensemble.losses.module import LossModule, check_range
from ensemble.losses.overlap import mean_over_present, one_minus_tversky, overlap
from ensemble.losses.registry import LOSSES
from ensemble.losses.weights import checked_counts

Form = Literal["asymmetric", "symmetric"]


def unified_focal_loss(
    logits_nchw: Tensor,
    labels_nhw: Tensor,
    *,
    rare: int,
    weight: float = 0.5,
    delta: float = 0.6,
    gamma: float = 0.5,
    form: Form = "asymmetric",
    per_image: bool = False,
) -> Tensor:
    """Return the weighted sum of a focal Tversky and a focal loss that share their parameters.

    .. math::
        L &= \\lambda L_{FT} + (1 - \\lambda) L_F, \\qquad
        mTI_c = \\frac{TP_c + e}{TP_c + \\delta FN_c + (1 - \\delta) FP_c + e} \\\\
        L_F &= -\\frac{1}{|V|} \\sum_V \\Bigl[ \\delta\\, a\\, y_r \\log p_r
             + (1 - \\delta) \\sum_{c \\ne r} (1 - p_c)^\\gamma y_c \\log p_c \\Bigr] \\\\
        L_{FT} &= \\frac{1}{|C|} \\Bigl[ (1 - mTI_r)^{1 - \\gamma} + \\sum_{c \\ne r} (1 - mTI_c)^{b} \\Bigr]

    asymmetric: a = 1 and b = 1 (the rare class is never suppressed, the others are never enhanced);
    symmetric: a = (1 - p_r)^gamma and b = 1 - gamma (all classes are treated alike, except for delta).

    The paper and its code are binary: channel 0 is the background, channel 1 the rare foreground. Here the class r
    with the fewest pixels takes the place of the foreground, and *every* other class that of the background; with two
    classes the formulas are those of the paper. Three things differ. First, C holds only classes present in the labels;
    the code gives an absent class a term of nearly 1 without a useful gradient. Second, sums run over the batch, as in
    the other losses here; with ``per_image=True`` they run over each image, and the mean is over (image, class) pairs,
    as in the code. Third, e is 1e-7 everywhere, and probabilities are not clipped, because log-softmax is stable.

    Args:
        logits_nchw: scores before softmax.
        labels_nhw: int64 classes, 255 = void.
        rare: channel r.
        weight: lambda in [0, 1], the share of the Tversky part (in MONAI and elsewhere, that of the other part).
        delta: in [0, 1]; price of false negatives against false positives, and of r against the others.
        gamma: in [0, 1); suppresses easy pixels and enhances classes with a poor overlap.
        form: ``asymmetric`` or ``symmetric``.
        per_image: whether the overlap is taken per image instead of over the batch.

    Returns:
        scalar >= 0; 0 if every pixel is void.

    Raises:
        EnsError: when the shapes do not fit each other.

    Reference:
        Yeung et al., 2022 (arXiv:2102.04525, 2021), section 3: the symmetric and asymmetric unified focal losses.

    >>> import torch
    >>> unified_focal_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]), rare=1, gamma=0.0)
    tensor(0.4233)
    """
    log_probs_nchw, labelled_nhw = log_probabilities(logits_nchw, labels_nhw)
    symmetric = form == "symmetric"

    nll_nhw = pixel_nll(log_probs_nchw, labels_nhw)
    faded_nhw = safe_power(1.0 - torch.exp(-nll_nhw), gamma)
    rare_nhw = labels_nhw == rare
    factors_nhw = torch.where(rare_nhw, delta * (faded_nhw if symmetric else 1.0), (1.0 - delta) * faded_nhw)
    focal = mean_over_labelled(factors_nhw * nll_nhw, labelled_nhw)

    parts = overlap(log_probs_nchw, labels_nhw, labelled_nhw, per_image=per_image)
    misses = one_minus_tversky(parts, 1.0 - delta, delta, smooth=1e-7)
    enhanced = torch.ones_like(misses, dtype=torch.bool)
    if not symmetric:
        enhanced = torch.arange(misses.shape[-1], device=misses.device).expand_as(misses) == rare
    terms = torch.where(enhanced, safe_power(misses, 1.0 - gamma), misses)
    return weight * mean_over_present(terms, parts.present) + (1.0 - weight) * focal


@LOSSES.register("unified")
def make_unified(
    counts_c: Tensor,
    *,
    weight: Annotated[float, Between(0.1, 0.9)] = 0.5,
    delta: Annotated[float, Between(0.5, 0.95)] = 0.6,
    gamma: Annotated[float, Between(0.1, 0.9)] = 0.5,
    form: Form = "asymmetric",
    per_image: bool = False,
) -> nn.Module:
    """Unified focal loss (Yeung 2021): focal Tversky plus focal, the class with fewest pixels as the rare one."""
    check_range("weight", weight, 0.0, 1.0)
    check_range("delta", delta, 0.0, 1.0)
    check_range("gamma", gamma, 0.0, 1.0, open_high=True)
    if form not in get_args(Form):
        raise UnknownName("value", form, get_args(Form), where="for option form")
    counts = checked_counts(counts_c)
    rare = int(counts.masked_fill(counts == 0, torch.inf).argmin())
    options = {"weight": weight, "delta": delta, "gamma": gamma, "form": form, "per_image": per_image}
    return LossModule(unified_focal_loss, {"rare": rare, **options})
