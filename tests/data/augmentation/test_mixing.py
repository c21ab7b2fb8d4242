"""Cutmix keeps pairs of pixels and labels together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.data import Dataset
from ensemble.data.augmentation.mixing import cutmix, rectangle
from ensemble.data.windows import TrainingImages

RARE = 2


@settings(max_examples=60, deadline=None)
@given(drawn=st.data(), alpha=st.floats(0.1, 4))
def test_cutmix_keeps_pixels_and_labels_together(
    drawn: Any, alpha: float, dataset_of: Callable[..., Dataset], draw_pairs: Callable[..., Any]
) -> None:
    seed, images, labels = draw_pairs(drawn)
    donors = TrainingImages(dataset_of(images, labels), np.arange(len(images)))
    change = cutmix(p=1.0, alpha=alpha)
    new_images, new_labels = change(images, labels, np.random.default_rng(seed), donors)
    whole = np.concatenate([images.astype(np.float64), labels[..., None]], axis=-1)
    mixed = np.concatenate([new_images.astype(np.float64), new_labels[..., None]], axis=-1)
    sources = [(mixed == other).all(-1) for other in whole]  # where the mixed images are this image
    for at in range(len(images)):
        own = sources[at][at]
        partners = [own | source[at] for i, source in enumerate(sources) if i != at]
        assert own.all() or any(each.all() for each in partners)  # its own and one other image
        rows, columns = np.nonzero(~own)
        if len(rows):
            box = ~own[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert box.mean() > 0.5  # a rectangle, but for pixels that are equal by chance
    again = change(images, labels, np.random.default_rng(seed), donors)
    np.testing.assert_array_equal(new_images, again[0])


def test_cutmix_changes_the_share_of_images_and_of_pixels_that_it_says(dataset_of: Callable[..., Dataset]) -> None:
    labels = (np.arange(400) % 3).astype(np.uint8)[:, None, None] * np.ones((1, 32, 32), np.uint8)
    images = np.arange(400, dtype=np.float32)[:, None, None, None] / 400 * np.ones((1, 32, 32, 1), np.float32)
    donors = TrainingImages(dataset_of(images, labels), np.arange(400))
    new, _ = cutmix(p=0.5, alpha=1.0)(images, labels, np.random.default_rng(0), donors)
    other = (new != images).mean((1, 2, 3))
    assert 0.4 < (other > 0).mean() < 0.55
    # A rectangle of half the image on average, of which the borders cut some away: (1 - 3/4 r)^2 r^2 ... at most 1/2.
    assert 0.2 < other[other > 0].mean() < 0.5
    small, _ = cutmix(p=1.0, alpha=0.05)(images, labels, np.random.default_rng(0), donors)
    share = (small != images).mean((1, 2, 3))
    assert ((share < 0.02) | (share > 0.2)).mean() > 0.8  # Beta(0.05, 0.05) is nearly 0 or 1
    none, _ = cutmix(p=0.0)(images, labels, np.random.default_rng(0), donors)
    np.testing.assert_array_equal(none, images)


def test_a_single_image_has_no_partner(dataset_of: Callable[..., Dataset], random_pairs: Callable[..., Any]) -> None:
    images, labels = random_pairs(0, 1, (16, 16), 1, np.uint8)
    donors = TrainingImages(dataset_of(images, labels), np.arange(1))
    new_images, new_labels = cutmix(p=1.0)(images, labels, np.random.default_rng(0), donors)
    np.testing.assert_array_equal(new_images, images)
    np.testing.assert_array_equal(new_labels, labels)


@pytest.mark.parametrize(
    ("share", "centre", "box"),
    [
        (0.25, (32, 64), (slice(16, 48), slice(32, 96))),
        (1.0, (32, 64), (slice(0, 64), slice(0, 128))),
        (1.0, (0, 0), (slice(0, 32), slice(0, 64))),
        (0.25, (63, 127), (slice(47, 64), slice(95, 128))),
        (0.0, (10, 10), (slice(10, 10), slice(10, 10))),
    ],
)
def test_rectangles_by_hand(share: float, centre: tuple[int, int], box: tuple[slice, slice]) -> None:
    assert rectangle((64, 128), share, centre) == box
