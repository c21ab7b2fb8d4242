"""Properties that hold for any logits and labels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ensemble.core.void import VOID
from ensemble.losses import LOSSES, build_loss

COUNTS = torch.tensor([400, 90, 10])
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Logits of any size up to 1e4 and labels with any share of void."""
    n, h, w = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    pixel = st.sampled_from([0, 1, 2, VOID])
    labels = draw(st.lists(pixel, min_size=n * h * w, max_size=n * h * w))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = torch.randn(n, 3, h, w, generator=generator) * draw(st.sampled_from([0.0, 0.1, 1.0, 10.0, 1e3, 1e4]))
    return logits, torch.tensor(labels).view(n, h, w)


@pytest.mark.parametrize("name", list(LOSSES))
@few
@given(batch=batches())
def test_is_finite_not_negative_and_blind_to_void(name: str, batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    loss = build_loss(name, COUNTS)
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, labels)
    value.backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert value.isfinite()
    assert value >= 0
    void = (labels == VOID).unsqueeze(1)
    assert (leaf.grad.masked_select(void.expand_as(leaf)) == 0).all()
    assert torch.equal(loss(torch.where(void, 7.0 - 3.0 * logits, logits), labels), value)


@few
@given(batch=batches())
def test_losses_of_shares_are_bounded(batch: tuple[Tensor, Tensor]) -> None:
    for name in ("dice", "generalized-dice", "jaccard", "lovasz", "tversky", "focal-tversky"):
        assert build_loss(name, COUNTS)(*batch) <= 1 + 1e-6, name
    assert build_loss("log-cosh-dice", COUNTS)(*batch) <= math.log(math.cosh(1.0)) + 1e-6
    assert build_loss("boundary", COUNTS)(*batch) <= 2 - 1 / 16 + 1e-6


@few
@given(batch=batches(), threshold=st.floats(0, 1), keep=st.floats(0, 1))
def test_the_hardest_pixels_cost_more_than_the_average(
    batch: tuple[Tensor, Tensor], threshold: float, keep: float
) -> None:
    hardest = build_loss("ohem-ce", COUNTS, {"threshold": threshold, "keep": keep})(*batch)
    assert hardest >= build_loss("ce", COUNTS)(*batch) * (1 - 1e-6)


@few
@given(batch=batches(), first=st.floats(0, 10), second=st.floats(0.01, 10))
def test_sums_are_linear(batch: tuple[Tensor, Tensor], first: float, second: float) -> None:
    value = build_loss(f"{first!r}*dice + {second!r}*weighted-ce", COUNTS)(*batch)
    expected = first * build_loss("dice", COUNTS)(*batch) + second * build_loss("weighted-ce", COUNTS)(*batch)
    torch.testing.assert_close(value, expected)
