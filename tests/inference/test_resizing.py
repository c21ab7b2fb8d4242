"""What a network sees of native images, and its outputs back in native pixels."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ensemble.inference.resizing import Resizing

SIDES = st.integers(1, 150)
INPUT_SIZES = st.none() | st.tuples(st.integers(2, 100), st.integers(2, 100))
SCALES = st.sampled_from([0.25, 0.5, 0.375, 1.0, 1.5, 2.0])


def ramp(height: int, width: int) -> Tensor:
    """An image that says where each pixel is."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([rows, columns])[None].float()


@given(height=SIDES, width=SIDES, size=INPUT_SIZES, scale=SCALES)
@settings(max_examples=150, deadline=None)
def test_any_image_comes_back_at_its_place(height: int, width: int, size: tuple[int, int] | None, scale: float) -> None:
    resizing, image = Resizing(size, scale), ramp(height, width)
    seen = resizing.of(image)
    fitted = resizing.fitted((height, width))
    if size:
        assert seen.shape[2:] == size
        assert fitted[0] == size[0] or fitted[1] == size[1]
        assert fitted[0] <= size[0]
        assert fitted[1] <= size[1]
        if min(fitted) > 2:  # the aspect is kept, up to rounding
            assert abs(fitted[0] / height - fitted[1] / width) <= 0.51 / min(height, width)
    back = resizing.undo(seen, (height, width))
    assert back.shape == image.shape
    step = max(height / fitted[0], width / fitted[1], 1.0)  # the ramp is blurred at the border, and rounded by resizing
    assert (back - image).abs().max() <= 2 * step


def test_without_size_and_scale_images_are_not_touched() -> None:
    image = torch.rand(2, 3, 40, 3)
    resizing = Resizing()
    assert resizing.of(image) is image
    assert resizing.undo(image, (40, 3)) is image


def test_what_lies_around_a_fitted_image_is_its_last_row_and_column() -> None:
    seen = Resizing(size=(64, 64)).of(torch.rand(1, 1, 64, 40))
    torch.testing.assert_close(seen[..., 40:], seen[..., 39:40].expand(1, 1, 64, 24), rtol=0, atol=0)


def test_shrinking_averages_and_does_not_skip() -> None:
    board = (torch.arange(128)[:, None] + torch.arange(128)) % 2
    seen = Resizing(scale=0.25).of(board[None, None].float())
    assert seen.shape == (1, 1, 32, 32)
    torch.testing.assert_close(seen[..., 1:-1, 1:-1], torch.full((1, 1, 30, 30), 0.5), atol=1e-6, rtol=0)


def test_a_small_image_is_seen_at_the_scale_of_all_others() -> None:
    image = torch.rand(1, 1, 32, 32)
    seen = Resizing(scale=0.5).of(image)
    assert seen.shape == (1, 1, 16, 16)
    torch.testing.assert_close(seen[..., :15, :15], Resizing(scale=0.5).of(torch.cat([image] * 2, 2))[..., :15, :15])


def test_a_pixel_is_seen_at_a_small_scale() -> None:
    assert Resizing(scale=0.125).of(torch.rand(1, 1, 1, 9)).shape == (1, 1, 2, 2)


@pytest.mark.parametrize(
    ("scale", "fraction", "grid"), [(1, "1", 32), (2, "2", 32), (0.5, "1/2", 64), (1.5, "3/2", 64), (0.375, "3/8", 256)]
)
def test_tiles_of_a_scale_are_resized_as_the_whole_image(scale: float, fraction: str, grid: int) -> None:
    resizing = Resizing(scale=scale)
    assert resizing.fraction == Fraction(fraction)
    assert resizing.grid == grid
    image = torch.rand(1, 1, 3 * grid, 2 * grid)
    first = int(grid * resizing.fraction)
    whole, tile = resizing.of(image), resizing.of(image[..., grid:, :])
    assert first % 32 == 0
    torch.testing.assert_close(tile[..., 8:, :], whole[..., first + 8 :, :], atol=1e-5, rtol=0)
