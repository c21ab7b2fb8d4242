"""Options: their ranges, and the promises of the contract at other values than the defaults."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.void import VOID
from ensemble.losses import LOSSES, build_loss

COUNTS = torch.tensor([300, 100])
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("ce", {"smoothing": 0.1}),
    ("weighted-ce", {"smoothing": 0.1, "cap": 5.0}),
    ("focal", {"smoothing": 0.1, "gamma": 0.5, "scheme": "inverse"}),
    ("poly", {"smoothing": 0.1, "epsilon": -1.0, "scheme": "inverse"}),
    ("ohem-ce", {"threshold": 0.0, "keep": 0.5, "scheme": "inverse"}),
    ("dice", {"smooth": 1.0, "scheme": "inverse-sqrt"}),
    ("log-cosh-dice", {"smooth": 0.0, "scheme": "inverse"}),
    ("generalized-dice", {"power": 1.0}),
    ("jaccard", {"smooth": 0.0, "scheme": "effective-number"}),
    ("tversky", {"alpha": 0.0, "beta": 1.0, "scheme": "inverse"}),
    ("focal-tversky", {"gamma": 3.0, "smooth": 0.0, "scheme": "inverse"}),
    ("unified", {"form": "symmetric", "per_image": True, "gamma": 0.9}),
    ("boundary", {"reach": 127}),
    ("boundary", {"reach": 1}),
]
variants = pytest.mark.parametrize(("name", "options"), VARIANTS)


@variants
@pytest.mark.parametrize("label", [VOID, 0, 3])
def test_finite_at_other_options(name: str, options: dict[str, Any], label: int, counts: Tensor, batch: Any) -> None:
    # All void, then one class among void, then the whole batch with every logit saturated.
    labels = torch.where(batch[1] == 1, label, VOID) if label != 3 else batch[1]
    loss = build_loss(name, counts, options)
    for scale in (0.0, 1.0, 1e4):
        logits = (scale * batch[0].sign()).requires_grad_()
        value = loss(logits, labels)
        value.backward()
        assert logits.grad is not None
        assert value.isfinite()
        assert logits.grad.isfinite().all()
        assert (logits.grad.movedim(1, -1)[labels == VOID] == 0).all()
        assert value >= 0
        assert value == 0 or label != VOID


@variants
def test_gradient_at_other_options(name: str, options: dict[str, Any], counts: Tensor) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[[0, 1, 2], [3, VOID, 0]], [[1, 1, VOID], [2, 0, 0]]])
    loss = build_loss(name, counts, options)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (logits,))


@pytest.mark.parametrize("name", ["weighted-ce", "poly", "ohem-ce", "dice", "focal"])
def test_a_class_without_training_pixels_has_no_weight(name: str) -> None:
    logits = torch.tensor([0.3, -0.2]).view(1, 2, 1, 1).requires_grad_()
    value = build_loss(name, torch.tensor([0, 5]))(logits, torch.tensor([[[0]]]))
    value.backward()
    assert value == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize(
    ("name", "option", "value", "text"),
    [
        ("weighted-ce", "cap", 0.5, "expected option cap at least 1, got 0.5; change cap"),
        ("weighted-ce", "cap", float("nan"), "expected option cap at least 1, got nan"),
        ("focal", "gamma", -1.0, "expected option gamma at least 0, got -1.0"),
        ("focal", "gamma", float("inf"), "expected option gamma at least 0, got inf"),
        ("focal", "cap", 0.0, "expected option cap at least 1"),
        ("dice", "smooth", -1e-3, "expected option smooth at least 0"),
        ("tversky", "alpha", -0.1, "expected option alpha at least 0"),
        ("tversky", "beta", -0.1, "expected option beta at least 0"),
        ("tversky", "smooth", -0.1, "expected option smooth at least 0"),
        ("ce", "smoothing", 1.0, r"expected option smoothing from 0 to 1 \(exclusive\), got 1.0"),
        ("weighted-ce", "smoothing", -0.1, "expected option smoothing from 0 to 1"),
        ("focal", "smoothing", 1.0, "expected option smoothing from 0 to 1"),
        ("poly", "smoothing", 1.0, "expected option smoothing from 0 to 1"),
        ("poly", "epsilon", -1.5, "expected option epsilon at least -1, got -1.5"),
        ("poly", "cap", 0.5, "expected option cap at least 1"),
        ("dice", "cap", 0.5, "expected option cap at least 1"),
        ("log-cosh-dice", "smooth", -1.0, "expected option smooth at least 0"),
        ("generalized-dice", "power", 3.0, "expected option power from 0 to 2, got 3.0"),
        ("jaccard", "smooth", -1.0, "expected option smooth at least 0"),
        ("focal-tversky", "gamma", 0.75, "expected option gamma at least 1, got 0.75"),
        ("focal-tversky", "alpha", -1.0, "expected option alpha at least 0"),
        ("focal-tversky", "smooth", -1.0, "expected option smooth at least 0"),
        ("ohem-ce", "threshold", 1.1, "expected option threshold from 0 to 1, got 1.1"),
        ("ohem-ce", "keep", -0.1, "expected option keep from 0 to 1"),
        ("boundary", "reach", 0, "expected option reach from 1 to 127, got 0"),
        ("boundary", "reach", 128, "expected option reach from 1 to 127"),
        ("unified", "weight", 1.5, "expected option weight from 0 to 1, got 1.5"),
        ("unified", "delta", -0.1, "expected option delta from 0 to 1, got -0.1"),
        ("unified", "gamma", 1.0, r"expected option gamma from 0 to 1 \(exclusive\), got 1.0"),
    ],
)
def test_options_out_of_range_are_named(name: str, option: str, value: float, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        LOSSES.create(name, COUNTS, **{option: value})


@pytest.mark.parametrize("name", ["tversky", "focal-tversky"])
def test_two_prices_of_zero_are_refused(name: str) -> None:
    with pytest.raises(EnsError, match="expected option alpha or beta above 0"):
        LOSSES.create(name, COUNTS, alpha=0.0, beta=0.0)


def test_unified_refuses_an_unknown_form() -> None:
    with pytest.raises(UnknownName, match="did you mean 'symmetric'"):
        LOSSES.create("unified", COUNTS, form="symetric")
    # A factory called from Python, past the registry's own check of texts:
    with pytest.raises(UnknownName, match="did you mean 'symmetric'"):
        LOSSES["unified"](COUNTS, form="symetric")


@pytest.mark.parametrize("name", ["weighted-ce", "focal", "unified", "dice", "poly"])
def test_counts_without_a_labelled_pixel_are_refused(name: str) -> None:
    with pytest.raises(EnsError, match="at least one labelled pixel in the training images"):
        LOSSES.create(name, torch.zeros(3))
