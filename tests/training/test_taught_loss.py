"""The loss of a student against an independent computation, and where it must be silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from ensemble.losses import build_loss
from ensemble.runs.store import decode, encode
from ensemble.training.taught_loss import TaughtLoss, teacher_loss

VOID = 255


def case(seed: int = 0, outputs: int = 4) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Logits (2, outputs, 3, 5), codes of three classes (2, 3, 5, 3) and labels."""
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(generator.normal(size=(2, outputs, 3, 5)))
    probs = softmax(3 * generator.normal(size=(2, 3, 3, 5)), axis=1).astype(np.float32)
    labels = generator.integers(0, 3, (2, 3, 5)).astype(np.uint8)
    labels[0, 0] = VOID
    return logits, np.moveaxis(encode(probs), 1, -1), labels


@pytest.mark.parametrize("outputs", [3, 4])
def test_it_is_the_mean_divergence_over_pixels_that_teachers_know(outputs: int) -> None:
    logits, codes, _ = case(outputs=outputs)
    codes[1, 2, 3:] = VOID
    teacher = decode(np.moveaxis(codes, -1, 1)).astype(np.float64)
    student = softmax(logits[:, :3].numpy(), axis=1)  # the background of zero weight takes no part
    apart: Any = entropy(teacher, student, axis=1)  # scipy's Kullback-Leibler divergence
    expected = apart[codes[..., 0] != VOID].mean()
    assert float(teacher_loss(logits, torch.from_numpy(codes))) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_numbers() -> None:
    logits, codes, _ = case(1, 3)
    coded = torch.from_numpy(codes)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: teacher_loss(x, coded).double(), (logits,), eps=1e-3, atol=2e-3)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_it_weighs_the_own_loss_and_that_of_the_teachers(share: float) -> None:
    logits, codes, labels = case()
    logits = logits[:, :3].float()
    targets = torch.from_numpy(np.concatenate([labels[..., None], codes], axis=-1))
    own = build_loss("dice", torch.ones(3), {})
    expected = share * own(logits, torch.from_numpy(labels.astype(np.int64)))
    expected = expected + (1 - share) * teacher_loss(logits, torch.from_numpy(codes))
    torch.testing.assert_close(TaughtLoss(own, share)(logits, targets), expected)


def test_pixels_that_nobody_knows_have_no_gradient_and_do_not_fail() -> None:
    logits = torch.full((1, 3, 2, 2), 1e4, requires_grad=True)
    targets = torch.full((1, 2, 2, 4), VOID, dtype=torch.uint8)
    loss = TaughtLoss(build_loss("ce", torch.ones(3), {}), 0.5)(logits, targets)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_void_pixels_learn_from_teachers_alone() -> None:
    logits, codes, labels = case(2, 3)
    labels[:] = VOID
    logits = logits.float().requires_grad_()
    targets = torch.from_numpy(np.concatenate([labels[..., None], codes], axis=-1))
    TaughtLoss(build_loss("ce", torch.ones(3), {}), 0.5)(logits, targets).backward()
    assert logits.grad is not None
    assert bool((logits.grad.abs().sum(1) > 0).all())
