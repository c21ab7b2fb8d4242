"""Tiles of an image give the same result as the whole image, without seams, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from ensemble.inference.tiles import GRID, Tiling, Window, predict_strips, tiling_for

SIZES = st.integers(1, 700)
TILINGS = st.sampled_from([Tiling(128, 16), Tiling(160, 7, ramp=5), Tiling(256, 64), Tiling(96, 0)])


def whole(image: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Return what a "network" of this radius says about an image: local means in two classes, as a convolution."""
    mean = uniform_filter(image, 2 * radius + 1, mode="constant")
    return np.stack([mean, 1 - mean], dtype=np.float32)


def tiled(image: NDArray[np.float32], tiling: Tiling, radius: int, batch: int = 3) -> NDArray[np.float32]:
    sizes: list[int] = []

    def predict(windows: Sequence[Window]) -> NDArray[np.float32]:
        sizes.append(len(windows))
        parts = [image[top:bottom, left:right] for (top, bottom), (left, right) in windows]
        return np.stack([whole(part, radius) for part in parts])

    strips = list(predict_strips(predict, image.shape[0], image.shape[1], tiling, batch))
    assert max(sizes) <= batch
    assert [top for top, _ in strips] == np.cumsum([0, *(strip.shape[1] for _, strip in strips)])[:-1].tolist()
    return np.concatenate([strip for _, strip in strips], axis=1)


@given(height=SIZES, width=SIZES, tiling=TILINGS)
@settings(max_examples=40, deadline=None)
def test_every_pixel_is_covered_and_tiles_lie_on_the_grid(height: int, width: int, tiling: Tiling) -> None:
    for length in (height, width):
        spans = tiling.spans(length)
        total = np.zeros(length)
        for first, end in spans:
            assert first % GRID == 0
            assert 0 < end - first <= tiling.tile
            total[first:end] += tiling.weights((first, end), length)
        assert total.min() > 0
        assert spans[-1][1] == length
        if len(spans) > 2:  # between full tiles the weights sum to 1
            inner = slice(0, spans[-2][1] - 2 * tiling.margin - tiling.ramp)
            if tiling.step == tiling.tile - 2 * tiling.margin - tiling.ramp:
                np.testing.assert_allclose(total[inner], 1, atol=1e-5)


@given(height=SIZES, width=SIZES, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_network_of_bounded_reach_gives_the_same_in_tiles(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    for radius, tiling in ((16, Tiling(128, 16)), (5, Tiling(160, 7, ramp=5)), (0, Tiling(96, 0))):
        np.testing.assert_allclose(tiled(image, tiling, radius), whole(image, radius), atol=2e-6)


def test_a_reach_beyond_the_margin_shows() -> None:
    image = np.random.default_rng(0).random((300, 300), dtype=np.float32)
    assert np.abs(tiled(image, Tiling(128, 16), 24) - whole(image, 24)).max() > 1e-3


@pytest.mark.parametrize(("height", "radius"), [(400, 0), (1300, 22), (1409, 64), (2400, 94), (2999, 200)])
def test_strips_below_known_ones_are_the_same_bits(height: int, radius: int) -> None:
    image = np.random.default_rng(radius).random((height, 70), dtype=np.float32)
    rows_read: list[int] = []

    def predict(windows: Sequence[Window]) -> NDArray[np.float32]:
        rows_read.extend(first for (first, _), _ in windows)
        return np.stack([whole(image[slice(*rows), slice(*columns)], radius) for rows, columns in windows])

    tiling = tiling_for(radius)
    expected = list(predict_strips(predict, height, 70, tiling))
    for skip in range(len(expected) + 1):
        rows_read.clear()
        found = list(predict_strips(predict, height, 70, tiling, skip=skip))
        assert [top for top, _ in found] == [top for top, _ in expected[skip:]]
        for (_, strip), (_, other) in zip(found, expected[skip:], strict=True):
            np.testing.assert_array_equal(strip, other)
        assert min(rows_read, default=height) == (
            height if skip == len(expected) else tiling.spans(height)[max(0, skip - 1)][0]
        )


def test_constant_predictions_stay_constant() -> None:
    def predict(windows: Sequence[Window]) -> NDArray[np.float32]:
        (top, bottom), (left, right) = windows[0]
        return np.full((len(windows), 3, bottom - top, right - left), 1 / 3, np.float32)

    for _, strip in predict_strips(predict, 333, 517, Tiling(128, 20)):
        np.testing.assert_allclose(strip, 1 / 3, rtol=1e-6)


def test_strips_are_no_higher_than_a_tile() -> None:
    image = np.zeros((2000, 40), np.float32)

    def predict(windows: Sequence[Window]) -> NDArray[np.float32]:
        return np.stack([whole(image[slice(*rows), slice(*columns)], 1) for rows, columns in windows])

    strips = list(predict_strips(predict, 2000, 40, Tiling(128, 16)))
    assert max(strip.shape[1] for _, strip in strips) <= 128


@pytest.mark.parametrize(("tile", "margin", "step"), [(128, 16, 64), (512, 100, 256), (256, 0, 224)])
def test_steps_are_multiples_of_the_grid(tile: int, margin: int, step: int) -> None:
    assert Tiling(tile, margin).step == step
