"""The whole model as one torch module: from pixels as they are in files to probabilities and class ids."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ensemble.combining.cascade import Cascade
from ensemble.combining.combiner import Combiner
from ensemble.combining.decision import Decision
from ensemble.combining.pool import Pool
from ensemble.config import Tta
from ensemble.core.errors import EnsError
from ensemble.export.any_size import seen, unseen
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.network import Network, scored
from ensemble.inference.predictor import Predictor
from ensemble.inference.tta import check_tta, mean_over_views

TINY = 1e-12  # as in ensemble.combining.arithmetic
Floating = Literal["fp32", "fp16"]


class FoldGraph(nn.Module):
    """One network: native pixels in 0..1 become probabilities of all its outputs.

    Args:
        network: a trained network; its architecture computes in ``precision``, all around it in float32.
        precision: ``fp32`` or ``fp16``.
    """

    mean_c: Tensor
    std_c: Tensor

    def __init__(self, network: Network, precision: Floating) -> None:
        super().__init__()
        self.resizing = network.resizing
        self.is_half = precision == "fp16"
        self.body = deepcopy(network.body).half() if self.is_half else network.body
        self.register_buffer("mean_c", network.mean_c)
        self.register_buffer("std_c", network.std_c)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Map (n, bands, h, w) to (n, outputs, h, w)."""
        standard_nchw = (seen(self.resizing, images_nchw) - self.mean_c) / self.std_c
        logits_nchw = self.body(standard_nchw.half() if self.is_half else standard_nchw).float()
        height, width = images_nchw.shape[2:]
        return torch.softmax(unseen(self.resizing, logits_nchw, height, width), dim=1)


class MemberGraph(nn.Module):
    """One member: the mean over its folds of the mean over the views of its test-time augmentation."""

    def __init__(self, member: MemberNetwork, precision: Floating) -> None:
        super().__init__()
        self.folds = nn.ModuleList(FoldGraph(network, precision) for network in member.networks)
        self.tta: Tta = check_tta(member.settings.tta)
        self.classes = len(member.facts.classes)
        self.channels = list(range(self.classes) if member.channels is None else member.channels)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Map (n, bands, h, w) to the probabilities (n, classes, h, w) of the classes of the model."""
        each = [scored(mean_over_views(fold, images_nchw, self.tta), self.classes) for fold in self.folds]
        probs_nchw = each[0] if len(each) == 1 else torch.stack(each).mean(0)
        if self.channels == list(range(self.classes)):
            return probs_nchw
        return _normalised(probs_nchw[:, self.channels].clamp_min(TINY))


class ModelGraph(nn.Module):
    """Members, pool and decision: images (n, h, w, bands) become probabilities (n, classes, h, w) and ids (n, h, w).

    Args:
        predictor: a member or an ensemble on the CPU.
        precision: ``fp32`` or ``fp16``: what the architectures compute in.

    Raises:
        EnsError: a part of the model cannot be in a graph; the sentence names it.
    """

    weights_mc: Tensor
    values: Tensor
    slopes_c: Tensor
    losses_c: Tensor

    def __init__(self, predictor: Predictor, precision: Floating = "fp32") -> None:
        super().__init__()
        pool = check_pool(predictor.pool)
        self.span = predictor.facts.span
        self.members = nn.ModuleList(MemberGraph(member, precision) for member in predictor.networks.members)
        self.temperatures = [float(one) for one in pool.temperatures_m]
        self.temperature = float(pool.temperature)
        self.geometric = pool.space == "geometric"
        self.register_buffer("weights_mc", _column(pool.weights_mc / pool.weights_mc.sum(0)))
        slopes_c, losses_c = decision_line(pool)
        self.register_buffer("slopes_c", _column(slopes_c))
        self.register_buffer("losses_c", _column(losses_c))
        kind = torch.uint8 if max(predictor.values) <= np.iinfo(np.uint8).max else torch.int32
        self.register_buffer("values", torch.tensor(predictor.values, dtype=kind))

    def forward(self, images_nhwc: Tensor) -> tuple[Tensor, Tensor]:
        """Map images in the units of the training images to probabilities and to the ids of the decided classes."""
        low, high = self.span
        unit_nchw = ((images_nhwc - low) / (high - low)).permute(0, 3, 1, 2)
        probs_nchw = self._pooled([member(unit_nchw) for member in self.members])
        decided_nhw = (probs_nchw * self.slopes_c - self.losses_c).argmax(1)
        return probs_nchw, self.values[decided_nhw]

    def _pooled(self, probs: Sequence[Tensor]) -> Tensor:
        """Pool as ``ensemble.combining.pool.Pool`` does."""
        pooled_nchw: Tensor | float = 0.0
        for one, weight_c, temperature in zip(probs, self.weights_mc, self.temperatures, strict=True):
            warm_nchw = _tempered(one, temperature)
            pooled_nchw = pooled_nchw + weight_c * (warm_nchw.clamp_min(TINY).log() if self.geometric else warm_nchw)
        pooled_nchw = cast(Tensor, pooled_nchw)
        found_nchw = pooled_nchw.softmax(1) if self.geometric else _normalised(pooled_nchw)
        return _tempered(found_nchw, self.temperature)


def check_pool(combiner: Combiner) -> Pool:
    """Return the pool if a graph can hold it.

    Raises:
        EnsError: it is a cascade, it is no weighted mean, or it removes small objects.
    """
    if isinstance(combiner, Cascade):
        raise EnsError(
            "expected an ensemble that runs all its members, got a cascade, which stops image by image; an ONNX graph"
            " cannot; combine without a cascade, or keep it in one file with `ens bundle`"
        )
    if not isinstance(combiner, Pool):
        raise EnsError(
            f"expected an ensemble that is a weighted mean, got the method '{combiner.KIND}', which the ONNX graph has"
            " no part for; combine with average, learned, per-class, greedy or geometric, or export a member"
        )
    if combiner.smallest_c is not None:
        raise EnsError(
            "the ensemble removes small objects from its class maps, which an ONNX graph cannot do; combine without"
            " smallest_object"
        )
    return combiner


def decision_line(pool: Pool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a and b (classes,) with which the decided class is ``argmax_c a_c p_c - b_c``.

    Argmax: 1 and 0. Offsets: ``exp(o_c)``. Expected IoU: ``(1 + J_c) / U_c`` and ``J_c / U_c``, see `Decision`.
    """
    rule: Decision | None = pool.decision
    if rule is not None:
        return rule.line
    if pool.offsets_c is None:
        return np.ones(pool.classes), np.zeros(pool.classes)
    return np.exp(pool.offsets_c - pool.offsets_c.max()), np.zeros(pool.classes)


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[..., None, None]


def _normalised(values_nchw: Tensor) -> Tensor:
    return values_nchw / values_nchw.sum(1, keepdim=True).clamp_min(TINY)


def _tempered(probs_nchw: Tensor, temperature: float) -> Tensor:
    if temperature == 1.0:
        return probs_nchw
    return _normalised((probs_nchw / probs_nchw.amax(1, keepdim=True)) ** (1 / temperature))
