"""Fast forms of slow operations: the same bits, and gradients without gaps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ensemble.architectures.layout import SumOfMaps, concatenate, weigh_pixels

FORMATS = (torch.channels_last, torch.contiguous_format)


def maps(channels: int, form: torch.memory_format, kind: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(2, channels, 5, 6).to(kind).contiguous(memory_format=form).requires_grad_()


def gradients(result: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    return torch.autograd.grad(result, inputs, torch.randn_like(result))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.sampled_from(FORMATS), st.booleans())
def test_a_concatenation_is_torchs_to_the_bit(channels: list[int], form: torch.memory_format, narrow: bool) -> None:
    parts = [maps(number, form, torch.bfloat16 if narrow else torch.float32) for number in channels]
    joined, wanted = concatenate(*parts), torch.cat(parts, dim=1)
    assert torch.equal(joined, wanted)
    for ours, theirs in zip(gradients(joined, *parts), gradients(wanted, *parts), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.is_contiguous(memory_format=form) or not joined.is_contiguous(memory_format=form)


def test_a_concatenation_without_gradients_records_nothing() -> None:
    with torch.no_grad():
        assert not concatenate(maps(2, FORMATS[0]), maps(1, FORMATS[0])).requires_grad


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_weights_of_pixels_are_a_product_to_the_bit(form: torch.memory_format, kind: torch.dtype) -> None:
    one, weights = maps(7, form, kind), maps(1, form, kind)
    ours, theirs = weigh_pixels(one, weights), one * weights
    assert torch.equal(ours, theirs)
    assert ours.is_contiguous(memory_format=form)
    for mine, other in zip(gradients(ours, one, weights), gradients(theirs, one, weights), strict=True):
        torch.testing.assert_close(mine, other)


def test_a_sum_of_maps_is_that_of_the_stack() -> None:
    parts = [maps(3, FORMATS[0]) for _ in range(4)]
    wanted = torch.stack(parts).sum(0)
    torch.testing.assert_close(SumOfMaps()(parts), wanted)
    assert SumOfMaps()(parts).is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        narrow = [part.bfloat16() for part in parts]
        assert torch.equal(SumOfMaps()(narrow), torch.stack(narrow).sum(0))
