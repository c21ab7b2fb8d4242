"""Resizing and pooling as products with matrices give what torch gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.export.any_size import average_cells, seen, unseen
from ensemble.inference.resizing import Resizing

RESIZINGS = [
    Resizing(),
    Resizing(size=(16, 24)),
    Resizing(size=(40, 30)),
    Resizing(scale=2),
    Resizing(scale=0.5),
    Resizing(scale=0.375),
    Resizing(scale=1.25),
]


@pytest.mark.parametrize("resizing", RESIZINGS, ids=str)
@pytest.mark.parametrize("size", [(16, 24), (33, 20), (7, 90), (64, 64), (1, 5)])
def test_networks_see_the_same_and_the_way_back_is_the_same(resizing: Resizing, size: tuple[int, int]) -> None:
    images_nchw = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3))
    expected_nchw, found_nchw = resizing.of(images_nchw), seen(resizing, images_nchw)
    torch.testing.assert_close(found_nchw, expected_nchw, atol=2e-6, rtol=1e-5)
    back_nchw = unseen(resizing, expected_nchw, *size)
    torch.testing.assert_close(back_nchw, resizing.undo(expected_nchw, size), atol=2e-6, rtol=1e-5)


@given(size=st.tuples(st.integers(1, 30), st.integers(1, 30)), cells=st.tuples(st.integers(1, 7), st.integers(1, 7)))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_cells_have_the_means_of_torch(size: tuple[int, int], cells: tuple[int, int]) -> None:
    maps_nchw = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(average_cells(maps_nchw, cells), F.adaptive_avg_pool2d(maps_nchw, cells))
