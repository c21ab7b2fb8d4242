"""Boundaries of an image that comes in strips are counted exactly as those of the whole image."""

from __future__ import annotations

import doctest
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.evaluation import boundary, boundary_counts, boundary_strips
from ensemble.evaluation.boundary_strips import StripBoundary

CLASSES = 3


def maps(seed: int, size: tuple[int, int], cell: int) -> tuple[Any, Any]:
    """Labels in patches of about ``cell`` pixels, with void, and predictions that are shifted and partly wrong."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, CLASSES, (-(-size[0] // cell), -(-size[1] // cell)))
    labels = coarse.repeat(cell, 0).repeat(cell, 1)[: size[0], : size[1]].astype(np.uint8)
    predictions = np.roll(labels, random.integers(-2, 3, 2), (0, 1))
    predictions[random.random(size) < 0.05] = random.integers(0, CLASSES)
    labels[random.random(size) < 0.1] = 255
    return labels[None], predictions[None]


def in_strips(labels: Any, predictions: Any, cuts: list[int]) -> Any:
    height, width = labels.shape[1:]
    counter, counts = StripBoundary(height, width, CLASSES), np.zeros((1, CLASSES, 4), np.int64)
    for top, stop in zip([0, *cuts], [*cuts, height], strict=True):
        counts += counter.add(labels[:, top:stop], predictions[:, top:stop], top)
    return counts


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**16), st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.data())
def test_any_cut_gives_the_counts_of_the_whole_image(
    seed: int, height: int, width: int, cell: int, data: st.DataObject
) -> None:
    labels, predictions = maps(seed, (height, width), cell)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, height - 1)), max_size=height - 1)))
    share, fewest = data.draw(st.sampled_from([(0.0075, 1), (0.1, 1), (0.4, 3), (1.0, 2)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundary, "SHARE_OF_DIAGONAL", share)
        patch.setattr(boundary, "FOLLOWED", 4)
        patch.setattr(boundary_strips, "FEWEST_ROWS", fewest)
        whole = boundary_counts(labels, predictions, CLASSES)
        assert (in_strips(labels, predictions, cuts) == whole).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**16), st.integers(1, 30), st.integers(1, 30), st.floats(0, 40))
def test_a_map_of_distances_finds_what_following_finds(seed: int, height: int, width: int, distance: float) -> None:
    labels, predictions = maps(seed, (height, width), 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundary, "FOLLOWED", 1000)
        patch.setattr(boundary, "MAP_STEPS", 1000)
        followed = boundary_counts(labels, predictions, CLASSES, distance)
        patch.setattr(boundary, "MAP_STEPS", 0)  # the map as soon as something is lost after the first steps
        assert (boundary_counts(labels, predictions, CLASSES, distance) == followed).all()
        patch.setattr(boundary, "FOLLOWED", 1)
        assert (boundary_counts(labels, predictions, CLASSES, distance) == followed).all()


def test_only_the_rows_around_a_strip_are_held() -> None:
    labels, predictions = maps(0, (3000, 40), 25)  # a distance of 22 pixels
    counter, held = StripBoundary(3000, 40, CLASSES), 0
    for top in range(0, 3000, 10):
        counter.add(labels[:, top : top + 10], predictions[:, top : top + 10], top)
        held = max(held, counter.rows_held)
    assert held < 64 + 3 * 24


def test_a_distance_of_a_hundred_pixels_takes_seconds() -> None:
    labels, predictions = maps(0, (1500, 2000), 40)
    predictions[0, 700:800] = 0  # boundaries that are far from those of the truth
    start = time.perf_counter()
    counts = boundary_counts(labels, predictions, CLASSES, distance=106)
    assert time.perf_counter() - start < 20  # following all 35,000 pixels of the disc takes minutes
    assert (counts[0, :, 0] <= counts[0, :, 1]).all()


def test_strips_are_checked() -> None:
    labels, predictions = maps(0, (6, 5), 2)
    counter = StripBoundary(6, 5, CLASSES)
    with pytest.raises(EnsError, match=r"expected labels 0\.\.2 or 255 for void, got 7"):
        counter.add(np.full_like(labels, 7), predictions, 0)
    with pytest.raises(AssertionError, match="expected the strip from row 0, got that from row 3"):
        counter.add(labels[:, 3:], predictions[:, 3:], 3)


def test_the_example_runs() -> None:
    assert doctest.testmod(boundary_strips).attempted > doctest.testmod(boundary_strips).failed == 0
