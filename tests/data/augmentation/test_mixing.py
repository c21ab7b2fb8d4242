"""Copy-paste against hand-worked pixels and its promises; cutmix keeps pairs of pixels and labels together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.data import VOID, Dataset
from ensemble.data.augmentation.mixing import Region, copy_paste, cut_region, cutmix, paste_region, rectangle
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

# ---------------------------------------------------------------- copy-paste


@settings(max_examples=60, deadline=None)
@given(batch=batches, count=st.integers(1, 9), margin=st.integers(0, 3))
def test_copy_paste_adds_the_rare_class_and_nothing_else(
    batch: Any, count: int, margin: int, dataset_of: Callable[..., Dataset]
) -> None:
    images, labels = random_pairs(*batch)
    donors = TrainingImages(dataset_of(images, labels), np.arange(len(images)))
    change = copy_paste(count=count, margin=margin)
    new_images, new_labels = change(images, labels, np.random.default_rng(batch[0]), donors)
    changed = new_labels != labels
    assert (new_labels[changed] == donors.label).all()
    assert new_images.dtype == images.dtype
    assert np.isfinite(new_images).all()
    assert new_images.min() >= 0
    assert new_images.max() <= (255 if images.dtype == np.uint8 else 1)
    # Pixels change within a margin of the class alone.
    near = np.zeros(labels.shape, bool)
    padded = np.pad(new_labels == donors.label, ((0, 0), (margin, margin), (margin, margin)))
    for down in range(2 * margin + 1):
        for right in range(2 * margin + 1):
            near |= padded[:, down : down + labels.shape[1], right : right + labels.shape[2]]
    np.testing.assert_array_equal(new_images[~near], images[~near])
    again = change(images, labels, np.random.default_rng(batch[0]), donors)
    np.testing.assert_array_equal(new_images, again[0])
    np.testing.assert_array_equal(new_labels, again[1])


def donor_rock() -> tuple[Any, Any]:
    """An image of ground 50 with an L of 80 in its middle, which is the rare class."""
    image, labels = np.full((1, 20, 20, 1), 50, np.uint8), np.zeros((1, 20, 20), np.uint8)
    labels[0, 8:12, 9] = labels[0, 11, 9:13] = RARE
    image[labels == RARE] = 80
    return image, labels


SHAPE = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]], bool)
FLIPS = [SHAPE, SHAPE[::-1], SHAPE[:, ::-1], SHAPE[::-1, ::-1]]


@pytest.mark.parametrize("seed", range(6))
def test_a_region_is_pasted_whole_at_the_brightness_of_its_new_place(
    seed: int, dataset_of: Callable[..., Dataset]
) -> None:
    donors = TrainingImages(dataset_of(*donor_rock()), np.arange(1))
    images, labels = np.full((1, 20, 20, 1), 120, np.uint8), np.ones((1, 20, 20), np.uint8)
    new_images, new_labels = copy_paste(count=1, margin=0)(images, labels, np.random.default_rng(seed), donors)
    rows, columns = np.nonzero(new_labels[0] == RARE)
    pasted = new_labels[0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == RARE
    assert any(np.array_equal(pasted, flip) for flip in FLIPS)
    # Ground 50 becomes ground 120, so that the rock of 80 becomes 150.
    np.testing.assert_array_equal(new_images[0, ..., 0], np.where(new_labels[0] == RARE, 150, 120))


def test_regions_are_flipped_and_placed_at_random(dataset_of: Callable[..., Dataset]) -> None:
    donors = TrainingImages(dataset_of(*donor_rock()), np.arange(1))
    images, labels = np.zeros((80, 20, 20, 1), np.uint8), np.zeros((80, 20, 20), np.uint8)
    _, new = copy_paste(count=80, margin=0)(images, labels, np.random.default_rng(0), donors)
    assert ((new == RARE).sum((1, 2)) == SHAPE.sum()).all()  # one region for each of 80 images
    corners = [(np.nonzero(mask == RARE)[0].min(), np.nonzero(mask == RARE)[1].min()) for mask in new]
    assert len(set(corners)) > 40
    seen = {mask[r : r + 4, c : c + 4].tobytes() for (r, c), mask in zip(corners, new == RARE, strict=True)}
    assert seen == {np.ascontiguousarray(flip).tobytes() for flip in FLIPS}


def test_images_are_taken_in_turn(dataset_of: Callable[..., Dataset]) -> None:
    donors = TrainingImages(dataset_of(*donor_rock()), np.arange(1))
    images, labels = np.zeros((3, 20, 20, 1), np.uint8), np.zeros((3, 20, 20), np.uint8)
    for count, wanted in ((1, 1), (2, 2), (3, 3), (8, 3)):
        _, new = copy_paste(count=count)(images, labels, np.random.default_rng(count), donors)
        assert (new == RARE).any((1, 2)).sum() == wanted


def test_the_margin_fades_into_the_ground_and_keeps_its_labels() -> None:
    inside = np.zeros((7, 7), bool)
    inside[3, 3] = True
    region = cut_region(np.full((7, 7, 1), 90, np.uint8), inside, 2, np.random.default_rng(0))
    assert region.inside_hw.shape == (5, 5)
    assert region.alpha_hw[2].tolist() == pytest.approx([1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    image, labels = np.zeros((5, 5, 1), np.float32), np.zeros((5, 5), np.uint8)
    flat = region._replace(image_hwc=np.where(inside[1:6, 1:6, None], 0.9, 0.0).astype(np.float32))
    paste_region(image, labels, flat, RARE, np.random.default_rng(0))
    assert image[2, 2, 0] == pytest.approx(0.9)
    assert labels[2].tolist() == [0, 0, RARE, 0, 0]


def test_a_region_is_one_component_with_what_lies_in_its_rectangle() -> None:
    mask = np.zeros((12, 30), bool)
    mask[2:6, 2:6] = True
    mask[3:5, 3:5] = False
    mask[3, 3] = True  # touches the ring by its corner
    mask[8:10, 20:29] = True
    sizes = {
        cut_region(np.zeros((12, 30, 2), np.uint8), mask, 0, np.random.default_rng(seed)).inside_hw.shape
        for seed in range(30)
    }
    assert sizes == {(4, 4), (2, 9)}


def test_brightness_is_matched_band_by_band_over_labelled_ground() -> None:
    inside = np.zeros((3, 3), bool)
    inside[1, 1] = True
    rock = np.full((3, 3, 2), 0.2, np.float32)
    rock[..., 1] = 0.6
    rock[1, 1] = [0.3, 0.9]
    region = Region(rock, inside, inside.astype(np.float32))
    image, labels = np.full((3, 3, 2), 0.5, np.float32), np.zeros((3, 3), np.uint8)
    labels[0], image[0] = VOID, 0.0  # a border that was moved in
    paste_region(image, labels, region, RARE, np.random.default_rng(0))
    assert image[1, 1].tolist() == pytest.approx([0.6, 0.8])
    bright = np.full((3, 3, 2), 0.9, np.float32)
    paste_region(bright, np.zeros((3, 3), np.uint8), region, RARE, np.random.default_rng(0))
    assert bright[1, 1].tolist() == pytest.approx([1.0, 1.0])  # never beyond the range


def test_void_under_a_paste_gets_its_label_and_no_region_starts_in_void(dataset_of: Callable[..., Dataset]) -> None:
    donors = TrainingImages(dataset_of(*donor_rock()), np.arange(1))
    images, labels = np.zeros((60, 20, 20, 1), np.uint8), np.full((60, 20, 20), VOID, np.uint8)
    labels[:30, 10, 10] = 0
    _, new = copy_paste(count=60)(images, labels, np.random.default_rng(0), donors)
    pasted = new == RARE
    assert (pasted[:30].sum((1, 2)) == SHAPE.sum()).all()
    assert pasted[:30, 5:16, 5:16].sum() == pasted.sum()  # around the only labelled pixel
    assert (new[30:] == VOID).all()


def test_donors_are_training_rows_with_the_rarest_class(dataset_of: Callable[..., Dataset]) -> None:
    labels = np.zeros((6, 16, 16), np.uint8)
    labels[:, 8:] = 1
    labels[[1, 4], 2:4, 2:4] = RARE
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 1), np.uint8)
    donors = TrainingImages(dataset_of(images, labels), np.array([0, 1, 2, 5]))
    assert (donors.label, donors.rare_rows.tolist()) == (RARE, [1])
    without = TrainingImages(dataset_of(images, labels), np.array([0, 2, 3]))
    assert without.label in (0, 1)  # the rarest that these rows have
    void = TrainingImages(dataset_of(images, np.full_like(labels, VOID)), np.arange(6))
    new_images, new_labels = copy_paste()(images, labels, np.random.default_rng(0), void)
    np.testing.assert_array_equal(new_images, images)
    np.testing.assert_array_equal(new_labels, labels)


def test_a_region_as_large_as_the_image_fits(dataset_of: Callable[..., Dataset]) -> None:
    images, labels = np.full((2, 16, 18, 1), 7, np.uint8), np.zeros((2, 16, 18), np.uint8)
    labels[0] = 1
    labels[0, 3, 3] = VOID  # one pixel fewer than the other class
    donors = TrainingImages(dataset_of(images, labels), np.arange(2))
    assert donors.label == 1
    _, new = copy_paste(count=2)(images, labels, np.random.default_rng(0), donors)
    assert (new[1] == 1).sum() == 16 * 18 - 1


# ---------------------------------------------------------------- cutmix


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
