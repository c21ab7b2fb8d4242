"""Cross-entropy and its relatives against independent implementations: torch, MONAI, keras, formulas as printed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ensemble.core.void import VOID
from ensemble.losses import build_loss, class_weights

Batch = tuple[Tensor, Tensor]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("scheme", ["none", "inverse", "inverse-sqrt", "effective-number"])
def test_weighted_ce_is_torch_cross_entropy(counts: Tensor, batch: Batch, scheme: str, smoothing: float) -> None:
    weights = class_weights(counts, scheme)  # pyright: ignore[reportArgumentType]
    reference = torch.nn.CrossEntropyLoss(weight=weights, ignore_index=VOID, label_smoothing=smoothing)
    value = build_loss("weighted-ce", counts, {"scheme": scheme, "smoothing": smoothing})(*batch)
    torch.testing.assert_close(value, reference(*batch))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_ce_is_torch_cross_entropy(counts: Tensor, batch: Batch, smoothing: float) -> None:
    expected = torch.nn.CrossEntropyLoss(ignore_index=VOID, label_smoothing=smoothing)(*batch)
    torch.testing.assert_close(build_loss("ce", counts, {"smoothing": smoothing})(*batch), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("epsilon", [-1.0, 0.0, 2.0])
def test_poly_is_cross_entropy_and_the_missing_probability(
    counts: Tensor, batch: Batch, labelled: Batch, one_hot: Tensor, epsilon: float, smoothing: float
) -> None:
    # The paper's Poly-1: smoothed cross-entropy + epsilon * sum of smoothed labels * (1 - softmax).
    logits, labels = labelled
    smoothed = one_hot * (1 - smoothing) + smoothing / 4
    missing = (smoothed * (1 - logits.softmax(1).permute(0, 2, 3, 1))).sum(-1)
    expected = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, labels) + epsilon * missing.mean()
    value = build_loss("poly", counts, {"epsilon": epsilon, "smoothing": smoothing})(*batch)
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(("threshold", "keep"), [(0.7, 1 / 16), (0.01, 0.25), (0.3, 0.1), (1.0, 0.5)])
def test_ohem_is_the_usual_loop(counts: Tensor, batch: Batch, labelled: Batch, threshold: float, keep: float) -> None:
    # All losses above -log t, or where those are too few the largest ones, as in BiSeNet's code.
    losses = torch.nn.CrossEntropyLoss(reduction="none")(*labelled).flatten()
    hard, least = losses[losses >= -np.log(threshold)], int(np.ceil(keep * len(losses)))
    expected = (hard if len(hard) >= least else losses.topk(least).values).mean()
    value = build_loss("ohem-ce", counts, {"threshold": threshold, "keep": keep})(*batch)
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("scheme", ["none", "inverse"])
def test_focal_is_monai_softmax_focal(counts: Tensor, batch: Batch, labelled: Batch, gamma: float, scheme: str) -> None:
    from monai.losses.focal_loss import FocalLoss

    weights = class_weights(counts, scheme)  # pyright: ignore[reportArgumentType]
    reference = FocalLoss(use_softmax=True, to_onehot_y=True, gamma=gamma, weight=weights, reduction="none")
    logits, labels = labelled
    expected = reference(logits, labels.unsqueeze(1)).sum(1).mean()
    torch.testing.assert_close(build_loss("focal", counts, {"gamma": gamma, "scheme": scheme})(*batch), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_is_keras_categorical_focal(
    counts: Tensor, batch: Batch, labelled: Batch, one_hot: Tensor, smoothing: float
) -> None:
    import keras

    alpha: Any = class_weights(counts, "inverse").tolist()
    reference = keras.losses.CategoricalFocalCrossentropy(alpha, 2.0, from_logits=True, label_smoothing=smoothing)
    expected = reference(one_hot, labelled[0].permute(0, 2, 3, 1))
    value = build_loss("focal", counts, {"smoothing": smoothing, "scheme": "inverse"})(*batch)
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)
