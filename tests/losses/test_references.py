"""Values against independent implementations: torch, MONAI, keras, torchmetrics, and the unified focal paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ensemble.losses import build_loss, class_weights
from ensemble.losses.masking import VOID

Batch = tuple[Tensor, Tensor]


def labelled_only(batch: Batch) -> Batch:
    """The labelled pixels as one row: references without a void rule see no void."""
    logits, labels = batch
    labelled = labels != VOID
    return logits.permute(1, 0, 2, 3)[:, labelled].reshape(1, logits.shape[1], 1, -1), labels[labelled].view(1, 1, -1)


@pytest.mark.parametrize("scheme", ["none", "inverse", "inverse-sqrt", "effective-number"])
def test_weighted_ce_is_torch_cross_entropy(counts: Tensor, batch: Batch, scheme: str) -> None:
    weights = class_weights(counts, scheme)  # pyright: ignore[reportArgumentType]
    expected = torch.nn.CrossEntropyLoss(weight=weights, ignore_index=VOID)(*batch)
    torch.testing.assert_close(build_loss("weighted-ce", counts, {"scheme": scheme})(*batch), expected)


def test_ce_is_torch_cross_entropy(counts: Tensor, batch: Batch) -> None:
    expected = torch.nn.CrossEntropyLoss(ignore_index=VOID)(*batch)
    torch.testing.assert_close(build_loss("ce", counts)(*batch), expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("scheme", ["none", "inverse"])
def test_focal_is_monai_softmax_focal(counts: Tensor, batch: Batch, gamma: float, scheme: str) -> None:
    from monai.losses.focal_loss import FocalLoss

    weights = class_weights(counts, scheme)  # pyright: ignore[reportArgumentType]
    reference = FocalLoss(use_softmax=True, to_onehot_y=True, gamma=gamma, weight=weights, reduction="none")
    logits, labels = labelled_only(batch)
    expected = reference(logits, labels.unsqueeze(1)).sum(1).mean()
    torch.testing.assert_close(build_loss("focal", counts, {"gamma": gamma, "scheme": scheme})(*batch), expected)


def test_focal_is_keras_categorical_focal(counts: Tensor, batch: Batch) -> None:
    import keras

    logits, labels = labelled_only(batch)
    reference = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, from_logits=True)
    expected = reference(one_hot_last(labels), logits.permute(0, 2, 3, 1))
    torch.testing.assert_close(build_loss("focal", counts)(*batch), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("smooth", [0.0, 1e-5, 1.0])
def test_dice_is_monai_dice_over_the_batch(counts: Tensor, batch: Batch, smooth: float) -> None:
    from monai.losses.dice import DiceLoss

    reference = DiceLoss(softmax=True, to_onehot_y=True, batch=True, smooth_nr=smooth, smooth_dr=smooth)
    logits, labels = labelled_only(batch)
    expected = reference(logits, labels.unsqueeze(1))
    torch.testing.assert_close(build_loss("dice", counts, {"smooth": smooth})(*batch), expected)


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.7), (0.5, 0.5), (1.0, 0.2)])
def test_tversky_is_monai_tversky_over_the_batch(counts: Tensor, batch: Batch, alpha: float, beta: float) -> None:
    from monai.losses.tversky import TverskyLoss

    reference = TverskyLoss(
        softmax=True, to_onehot_y=True, batch=True, alpha=alpha, beta=beta, smooth_nr=1e-7, smooth_dr=1e-7
    )
    logits, labels = labelled_only(batch)
    expected = reference(logits, labels.unsqueeze(1))
    torch.testing.assert_close(build_loss("tversky", counts, {"alpha": alpha, "beta": beta})(*batch), expected)


def test_tversky_is_keras_tversky_whose_alpha_is_our_beta(counts: Tensor, batch: Batch) -> None:
    import keras

    logits, labels = labelled_only(batch)
    probs = logits.softmax(1).permute(0, 2, 3, 1)
    per_class = keras.losses.tversky(one_hot_last(labels), probs, alpha=0.7, beta=0.3, axis=(0, 1, 2))
    expected = torch.as_tensor(per_class).mean()
    torch.testing.assert_close(build_loss("tversky", counts)(*batch), expected, atol=1e-6, rtol=1e-5)


def test_dice_of_certain_predictions_is_the_dice_score(counts: Tensor, batch: Batch) -> None:
    from torchmetrics.functional.segmentation import dice_score

    logits, labels = labelled_only(batch)
    predicted = logits.argmax(1)
    score = dice_score(predicted, labels, num_classes=4, average="macro", input_format="index")
    certain = 1e4 * (predicted.unsqueeze(1) == torch.arange(4).view(1, 4, 1, 1))
    torch.testing.assert_close(build_loss("dice", counts)(certain, labels), 1 - score.squeeze())


def binary_unified(p: np.ndarray, y: np.ndarray, *, lam: float, delta: float, gamma: float, form: str) -> float:
    """Yeung et al.'s binary formulas on probabilities (n, h, w, 2) and one-hot truth; sums per image."""
    e = 1e-7
    image_scores: list[float] = []
    for p_image, y_image in zip(p, y, strict=True):
        for c in (0, 1):
            truth, guess = y_image[..., c], p_image[..., c]
            hit, miss, alarm = (truth * guess).sum(), (truth * (1 - guess)).sum(), ((1 - truth) * guess).sum()
            score = 1 - (hit + e) / (hit + delta * miss + (1 - delta) * alarm + e)
            image_scores.append(score ** (1 - gamma) if c == 1 or form == "symmetric" else score)
    background = (1 - delta) * (1 - p[..., 0]) ** gamma * -np.log(p[..., 0]) * y[..., 0]
    fading = (1 - p[..., 1]) ** gamma if form == "symmetric" else 1.0
    foreground = delta * fading * -np.log(p[..., 1]) * y[..., 1]
    return float(lam * np.mean(image_scores) + (1 - lam) * np.mean(background + foreground))


@pytest.mark.parametrize("form", ["asymmetric", "symmetric"])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize(
    ("lam", "delta", "gamma"), [(0.5, 0.6, 0.5), (0.2, 0.7, 0.25), (1.0, 0.6, 0.75), (0.0, 0.5, 0)]
)
def test_unified_with_two_classes_is_the_paper(form: str, images: int, lam: float, delta: float, gamma: float) -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(images, 2, 6, 7, generator=generator, dtype=torch.float64)
    labels = (torch.rand(images, 6, 7, generator=generator) < 0.2).long()
    assert labels.flatten(1).any(1).all()
    probs = logits.softmax(1).permute(0, 2, 3, 1).numpy()
    expected = binary_unified(probs, np.eye(2)[labels.numpy()], lam=lam, delta=delta, gamma=gamma, form=form)
    options = {"weight": lam, "delta": delta, "gamma": gamma, "form": form, "per_image": True}
    value = build_loss("unified", torch.tensor([900, 100]), options)(logits, labels)
    assert float(value) == pytest.approx(expected, abs=1e-12)
    if images == 1:  # one image is the batch
        batch_value = build_loss("unified", torch.tensor([900, 100]), {**options, "per_image": False})(logits, labels)
        assert float(batch_value) == pytest.approx(expected, abs=1e-12)


def test_unified_with_many_classes_is_the_written_formula(counts: Tensor, batch: Batch) -> None:
    logits, labels = labelled_only(batch)
    p = logits.softmax(1)[0, :, 0].double().numpy()  # (4, pixels)
    y = np.eye(4)[labels.flatten().numpy()].T
    rare, delta, gamma = 3, 0.6, 0.5
    misses = [
        1 - (y[c] @ p[c]) / (y[c] @ p[c] + delta * y[c] @ (1 - p[c]) + (1 - delta) * (1 - y[c]) @ p[c])
        for c in range(4)
    ]
    tversky = np.mean([m**0.5 if c == rare else m for c, m in enumerate(misses)])
    factor = [delta * np.ones_like(p[c]) if c == rare else (1 - delta) * (1 - p[c]) ** gamma for c in range(4)]
    focal = -np.sum(np.stack(factor) * y * np.log(p), 0).mean()
    value = build_loss("unified", counts)(*batch)
    assert float(value) == pytest.approx(0.5 * tversky + 0.5 * focal, rel=1e-5)


def one_hot_last(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, 4).float()
