"""Large images that a member sees as a whole: shrunk by blocks and enlarged by windows, as torch does it at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ensemble.inference import low_resolution
from ensemble.inference.low_resolution import LowResolution, shrunk

SIDES = st.integers(1, 90)
SIZES = st.tuples(st.integers(2, 90), st.integers(2, 90))  # torch 2.14 interpolates wrongly to a width of 1


@given(native=st.tuples(SIDES, SIDES), size=SIZES, seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_shrinking_by_blocks_is_that_of_torch(native: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    image = torch.rand(1, 2, *native, generator=torch.Generator().manual_seed(seed))
    expected = F.interpolate(image, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    pixels = image[0].permute(1, 2, 0).numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(low_resolution, "BLOCK", 7)
        found = shrunk(lambda first, end: pixels[first:end], native, size)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_bytes_are_read_once_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_resolution, "BLOCK", 40)
    image, read = np.random.default_rng(0).integers(0, 256, (100, 60, 3), dtype=np.uint8), list[tuple[int, int]]()

    def rows(first: int, end: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        read.append((first, end))
        return image[first:end]

    found = shrunk(rows, (100, 60), (25, 15))
    assert read == [(0, 40), (40, 80), (80, 100)]
    assert abs(found.mean() - image.mean() / 255) < 0.01


@given(low=st.tuples(SIDES, SIDES), native=st.tuples(SIDES, SIDES), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_windows_are_those_of_resized_logits(low: tuple[int, int], native: tuple[int, int], seed: int) -> None:
    logits = 3 * torch.randn(1, 4, *low, generator=torch.Generator().manual_seed(seed))
    expected = torch.softmax(F.interpolate(logits, native, mode="bilinear"), 1)[0].numpy()
    kept = LowResolution.of(torch.softmax(logits, 1)[0].numpy(), native)
    rows, columns = (native[0] // 3, native[0]), (0, -(-native[1] // 2))
    np.testing.assert_allclose(kept.window(rows, columns), expected[:, slice(*rows), slice(*columns)], atol=1e-4)
