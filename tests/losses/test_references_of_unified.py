"""Unified focal loss against the paper's binary formulas, its many-class form as written, and MONAI."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ensemble.losses import build_loss

Batch = tuple[Tensor, Tensor]


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


def test_unified_with_two_classes_is_monai_in_both_parts() -> None:
    from monai.losses.unified_focal_loss import AsymmetricFocalLoss, AsymmetricFocalTverskyLoss

    generator = torch.Generator().manual_seed(8)
    logits = torch.randn(2, 2, 6, 7, generator=generator)
    labels = (torch.rand(2, 6, 7, generator=generator) < 0.2).long()
    probs, options = logits.softmax(1), {"delta": 0.6, "gamma": 0.5, "per_image": True}
    overlap, pixels = (
        build_loss("unified", torch.tensor([900, 100]), {**options, "weight": weight})(logits, labels)
        for weight in (1.0, 0.0)
    )
    tversky = AsymmetricFocalTverskyLoss(to_onehot_y=True, delta=0.6, gamma=0.5)
    torch.testing.assert_close(overlap, tversky(probs, labels.unsqueeze(1)))
    # MONAI's mean runs over the two channels as well, where the paper has their sum.
    focal = AsymmetricFocalLoss(to_onehot_y=True, delta=0.6, gamma=0.5)
    torch.testing.assert_close(pixels, 2 * focal(probs, labels.unsqueeze(1)))


def test_unified_with_many_classes_is_the_written_formula(counts: Tensor, batch: Batch, labelled: Batch) -> None:
    logits, labels = labelled
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
