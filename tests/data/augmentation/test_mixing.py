"""Cutmix keeps pairs of pixels and labels together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.data import VOID, Dataset
from ensemble.data.augmentation.mixing import cutmix, rectangle
from ensemble.data.windows import TrainingImages

RARE = 2


def random_pairs(seed: int, images: int, size: tuple[int, int], bands: int, dtype: Any) -> tuple[Any, Any]:
    """Noise, with labels in blocks: void, two common classes, and the rare one in some images."""
    generator = np.random.default_rng(seed)
    blocks = generator.choice(
        [0, 1, RARE, VOID], (images, -(-size[0] // 4), -(-size[1] // 4)), p=[0.4, 0.4, 0.05, 0.15]
    )
    labels = blocks.astype(np.uint8).repeat(4, 1).repeat(4, 2)[:, : size[0], : size[1]]
    labels[0, :3, :5] = RARE  # in one image at least
    noise = generator.random((images, *size, bands))
    return (noise.astype(np.float32) if dtype == np.float32 else (noise * 255).astype(np.uint8)), labels


batches = st.tuples(
    st.integers(0, 2**31),
    st.integers(1, 6),
    st.tuples(st.integers(12, 24), st.integers(12, 30)),
    st.integers(1, 4),
    st.sampled_from([np.uint8, np.float32]),
)


@settings(max_examples=60, deadline=None)
@given(batch=batches, alpha=st.floats(0.1, 4))
def test_cutmix_keeps_pixels_and_labels_together(batch: Any, alpha: float, dataset_of: Callable[..., Dataset]) -> None:
    images, labels = random_pairs(*batch)
    donors = TrainingImages(dataset_of(images, labels), np.arange(len(images)))
    change = cutmix(p=1.0, alpha=alpha)
    new_images, new_labels = change(images, labels, np.random.default_rng(batch[0]), donors)
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
    again = change(images, labels, np.random.default_rng(batch[0]), donors)
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


def test_a_single_image_has_no_partner(dataset_of: Callable[..., Dataset]) -> None:
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
