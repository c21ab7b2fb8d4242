"""Copy-paste against hand-worked pixels and its promises: places, light, margins, rings, sizes, names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.data import VOID, Dataset
from ensemble.data.augmentation.expression import resolve_augmentation
from ensemble.data.augmentation.pasting import Region, copy_paste, cut_region, large_components, paste_region
from ensemble.data.windows import TrainingImages

RARE = 2


@settings(max_examples=60, deadline=None)
@given(drawn=st.data(), count=st.integers(1, 9), margin=st.integers(0, 3))
def test_copy_paste_adds_the_rare_class_and_nothing_else(
    drawn: Any, count: int, margin: int, dataset_of: Callable[..., Dataset], draw_pairs: Callable[..., Any]
) -> None:
    seed, images, labels = draw_pairs(drawn)
    donors = TrainingImages(dataset_of(images, labels), np.arange(len(images)))
    change = copy_paste(count=count, margin=margin)
    new_images, new_labels = change(images, labels, np.random.default_rng(seed), donors)
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
    again = change(images, labels, np.random.default_rng(seed), donors)
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


# ---------------------------------------------------------------- ring, specks, sizes, light


def pasted_on(labels: Any, dataset_of: Callable[..., Dataset], seed: int = 0, **options: Any) -> tuple[Any, Any]:
    """Return flat images of 120 and ``labels`` after one paste of the rock of 80 on ground of 50."""
    donors = TrainingImages(dataset_of(*donor_rock()), np.arange(1))
    images = np.full((*labels.shape, 1), 120, np.uint8)
    given: dict[str, Any] = {"count": len(labels), "margin": 0} | options
    return copy_paste(**given)(images, labels, np.random.default_rng(seed), donors)


@pytest.mark.parametrize("ring", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_labels_around_a_region_become_void(seed: int, ring: int, dataset_of: Callable[..., Dataset]) -> None:
    from scipy.ndimage import distance_transform_edt

    labels = np.ones((1, 20, 20), np.uint8)
    labels[0, :, ::5] = RARE  # regions that were there keep their labels
    usual_images, usual = pasted_on(labels, dataset_of, seed)
    images, new = pasted_on(labels, dataset_of, seed, ring=ring)
    np.testing.assert_array_equal(images, usual_images)
    region = images[0, ..., 0] == 150
    assert region.sum() == SHAPE.sum()
    near: Any = np.asarray(distance_transform_edt(~region)) <= ring
    expected = np.where(near & (usual[0] != RARE), VOID, usual[0])
    np.testing.assert_array_equal(new[0], expected)
    assert (new == VOID).any()


def test_specks_are_not_pasted(dataset_of: Callable[..., Dataset]) -> None:
    image, labels = donor_rock()  # of 7 pixels
    labels[0, 1, 1:4] = RARE
    donors = TrainingImages(dataset_of(image, labels), np.arange(1))
    places, ones = np.zeros((60, 20, 20, 1), np.uint8), np.ones((60, 20, 20), np.uint8)
    sizes: list[set[int]] = []
    for least in (1, 4, 7):
        change = copy_paste(count=60, margin=0, min_pixels=least)
        new = change(places, ones, np.random.default_rng(1), donors)[1]
        sizes.append(set((new == RARE).sum((1, 2)).tolist()))
    assert sizes == [{3, 7}, {7}, {7}]
    with pytest.raises(EnsError, match=r"expected a training image with min_pixels=11 pixels .*, got at most 10; use"):
        copy_paste(min_pixels=11)(places, ones, np.random.default_rng(1), donors)


def test_donors_of_large_components_are_drawn_alone(dataset_of: Callable[..., Dataset]) -> None:
    labels = np.zeros((4, 16, 16), np.uint8)
    labels[:, 8:] = 1
    labels[:3, 0, 0] = RARE
    labels[3, 2:5, 2:5] = RARE
    donors = TrainingImages(dataset_of(np.zeros((4, 16, 16, 1), np.uint8), labels), np.arange(4))
    _, new = copy_paste(count=40, min_pixels=9)(
        np.zeros((40, 16, 16, 1), np.uint8), np.zeros((40, 16, 16), np.uint8), np.random.default_rng(0), donors
    )
    assert ((new == RARE).sum((1, 2)) == 9).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), least=st.integers(1, 12))
def test_large_components_are_those_of_scipy(seed: int, least: int) -> None:
    from scipy.ndimage import label

    mask = np.random.default_rng(seed).random((9, 12)) < 0.3
    components, total = label(mask, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    kept = np.zeros_like(mask)
    for number in range(1, total + 1):
        if (components == number).sum() >= least:
            kept |= components == number
    np.testing.assert_array_equal(large_components(mask, least), kept)


@pytest.mark.parametrize("factor", [0.5, 2.0, 3.0])
def test_a_region_is_resized(factor: float, dataset_of: Callable[..., Dataset]) -> None:
    image, labels = np.full((1, 40, 40, 2), 50, np.uint8), np.zeros((1, 40, 40), np.uint8)
    labels[0, 10:18, 20:26] = RARE
    image[labels == RARE] = 80
    donors = TrainingImages(dataset_of(image, labels), np.arange(1))
    images, ones = np.full((5, 40, 40, 2), 120, np.uint8), np.ones((5, 40, 40), np.uint8)
    change = copy_paste(count=5, margin=2, scale=(factor, factor))
    new_images, new = change(images, ones, np.random.default_rng(0), donors)
    for mask, pixels in zip(new == RARE, new_images, strict=True):
        rows, columns = np.nonzero(mask)
        sides = (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)
        assert sides == pytest.approx((8 * factor, 6 * factor), abs=1)
        assert 0.97 * sides[0] * sides[1] < mask.sum() <= sides[0] * sides[1]  # corners become round
        middle = int(rows.mean()), int(columns.mean())
        assert pixels[middle].tolist() == pytest.approx([150, 150], abs=4)  # the ground beside it is blended
    assert (new_images[..., 0] != 120).any(0).sum() > (new == RARE).any(0).sum() - 1  # with its margin


def test_sizes_are_log_uniform_and_no_region_is_larger_than_the_image(dataset_of: Callable[..., Dataset]) -> None:
    image, labels = np.zeros((1, 64, 64, 1), np.uint8), np.zeros((1, 64, 64), np.uint8)
    labels[0, 10:26, 10:26] = RARE
    donors = TrainingImages(dataset_of(image, labels), np.arange(1))
    images, ones = np.zeros((200, 64, 64, 1), np.uint8), np.ones((200, 64, 64), np.uint8)
    change = copy_paste(count=200, margin=0, scale=(0.5, 2.0))
    sides = np.sqrt((change(images, ones, np.random.default_rng(0), donors)[1] == RARE).sum((1, 2)))
    assert 8 <= sides.min() < 9
    assert 31 < sides.max() <= 32
    assert np.median(sides) == pytest.approx(16, rel=0.1)
    _, huge = copy_paste(count=1, margin=1, scale=(8.0, 8.0))(images[:1], ones[:1], np.random.default_rng(0), donors)
    assert (huge == RARE).sum() > 0.7 * 64 * 64


def test_a_region_that_is_made_small_does_not_vanish() -> None:
    inside = np.zeros((30, 30), bool)
    inside[15, 5:25] = True
    for seed in range(4):
        image = np.zeros((30, 30, 1), np.uint8)
        assert cut_region(image, inside, 2, np.random.default_rng(seed), 0.2).inside_hw.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_light_is_contrast_and_brightness(dtype: Any) -> None:
    unit = 255 if dtype == np.uint8 else 1
    inside = np.zeros((3, 3), bool)
    inside[1, 1] = True
    rock = np.full((3, 3, 1), 0.2 * unit, np.float32)
    rock[1, 1] = 0.4 * unit
    region = Region(rock, inside, inside.astype(np.float32))
    image = np.full((3, 3, 1), 0.4 * unit).astype(dtype)
    light = (1.5, 0.1 * unit)
    paste_region(image, np.zeros((3, 3), np.uint8), region, RARE, np.random.default_rng(0), light=light)
    assert image[1, 1, 0] == pytest.approx((0.4 + 1.5 * 0.2 + 0.1) * unit, abs=unit / 255)


def test_light_differs_from_region_to_region_and_stays_in_its_limits(dataset_of: Callable[..., Dataset]) -> None:
    ones = np.ones((200, 20, 20), np.uint8)
    images, new = pasted_on(ones, dataset_of, photometric=True)
    values = np.array([image[mask == RARE].mean() for image, mask in zip(images, new, strict=True)])
    # The ground is 120 and the rock 30 brighter: 120 + 30 * (1 +- 0.3) +- 25.5.
    assert values.min() >= 120 + 30 * 0.7 - 26
    assert values.max() <= 120 + 30 * 1.3 + 26
    assert values.std() > 8
    assert values.mean() == pytest.approx(150, abs=4)
    np.testing.assert_array_equal(images[new != RARE], 120)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ring": -1}, "expected ring >= 0 and min_pixels >= 1 for 'copy-paste', got ring=-1, min_pixels=1; change"),
        ({"min_pixels": 0}, "expected ring >= 0 and min_pixels >= 1 for 'copy-paste', got ring=0, min_pixels=0"),
        (
            {"scale": (2.0, 0.5)},
            "expected two factors from 0.125 to 8 as scale for 'copy-paste', got 2..0.5; write for",
        ),
        ({"scale": (2.0,)}, "expected two factors from 0.125 to 8 as scale for 'copy-paste', got 2; write for example"),
        ({"scale": (0.01, 1.0)}, "got 0.01..1; write for example 0.5..2"),
    ],
)
def test_unfit_options_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(EnsError, match=text):
        copy_paste(**options)


def test_members_keep_their_names_without_the_new_options() -> None:
    assert resolve_augmentation("copy-paste") == "copy-paste(count=8, margin=2)"
    assert resolve_augmentation("copy-paste(ring=0, scale=1..1)") == "copy-paste(count=8, margin=2)"
    full = resolve_augmentation("copy-paste(ring=3, min_pixels=50, scale=0.5..2, photometric=true)")
    wanted = "copy-paste(count=8, margin=2, ring=3, min_pixels=50, scale=[0.5, 2.0], photometric=true)"
    assert full == wanted == resolve_augmentation(wanted)
