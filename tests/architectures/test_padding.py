"""Padding and cropping."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ensemble.architectures.padding import Padded, pad_to_multiple


@given(height=st.integers(1, 40), width=st.integers(1, 40), multiple=st.sampled_from([1, 2, 8, 32, 64]))
@settings(max_examples=60, deadline=None)
def test_padding_is_the_smallest_and_repeats_the_border(height: int, width: int, multiple: int) -> None:
    images_nchw = torch.rand(1, 2, height, width)
    padded_nchw = pad_to_multiple(images_nchw, multiple)
    new_height, new_width = padded_nchw.shape[-2:]
    assert new_height % multiple == new_width % multiple == 0
    assert 0 <= new_height - height < multiple
    assert 0 <= new_width - width < multiple
    assert torch.equal(padded_nchw[..., :height, :width], images_nchw)
    assert (padded_nchw[..., height:, :width] == images_nchw[..., -1:, :]).all()
    assert (padded_nchw[..., width:] == padded_nchw[..., width - 1 : width]).all()


def test_divisible_images_are_not_copied() -> None:
    images_nchw = torch.rand(1, 1, 64, 128)
    assert pad_to_multiple(images_nchw, 32) is images_nchw


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_memory_format_and_type_are_kept(dtype: torch.dtype) -> None:
    images_nchw = torch.rand(2, 3, 33, 47).to(dtype).contiguous(memory_format=torch.channels_last)
    padded_nchw = pad_to_multiple(images_nchw, 16)
    assert padded_nchw.dtype == dtype
    assert padded_nchw.is_contiguous(memory_format=torch.channels_last)


class _Echo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: tuple[int, ...] = ()

    def forward(self, images_nchw: Tensor) -> Tensor:
        self.seen = tuple(images_nchw.shape)
        return images_nchw * 2


def test_logits_are_cropped_to_the_image() -> None:
    echo = _Echo()
    images_nchw = torch.rand(2, 1, 33, 64)
    assert torch.equal(Padded(echo, 1, 16)(images_nchw), images_nchw * 2)
    assert echo.seen == (2, 1, 48, 64)
    tiny_nchw = torch.rand(2, 1, 1, 5)
    assert torch.equal(Padded(echo, 1, 16)(tiny_nchw), tiny_nchw * 2)
    assert echo.seen == (2, 1, 32, 32)
