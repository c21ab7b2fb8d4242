"""Windows of images of any size: where they lie, what is outside of an image, and how often an image is shown."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import Dataset, open_dataset
from ensemble.data.augmentation.expression import build_augmentation, resolve_augmentation, void_margin
from ensemble.data.windows import (
    TrainingImages,
    choose_crop,
    draw_corner,
    frame_for,
    framed,
    outside_share,
    read_window,
)

SIZES = ((40, 52), (64, 96), (33, 200), (128, 128))
RARE = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of different sizes; every pixel of an image has its own value, and one image holds the rare class."""
    root = tmp_path_factory.mktemp("sizes")
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for row, (height, width) in enumerate(SIZES):
        image = np.arange(height * width).reshape(height, width) % 251
        mask = (np.indices((height, width)).sum(0) // 9 % 2).astype(np.uint8)
        if row == 3:
            mask[70:73, 60:62] = RARE
        assert cv2.imwrite(str(root / "images" / f"{row}.png"), image.astype(np.uint8))
        assert cv2.imwrite(str(root / "masks" / f"{row}.png"), mask)
    return root


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return open_dataset(DataSettings(source=str(folder)))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_window_lies_in_the_image_or_the_image_in_the_window(data: st.DataObject) -> None:
    sides = st.integers(1, 60)
    size, crop = data.draw(st.tuples(sides, sides)), data.draw(st.tuples(sides, sides))
    pixel = data.draw(st.none() | st.tuples(st.integers(0, size[0] - 1), st.integers(0, size[1] - 1)))
    corner = draw_corner(size, crop, np.random.default_rng(data.draw(st.integers(0, 99))), pixel)
    for axis in range(2):
        first, end = corner[axis], corner[axis] + crop[axis]
        assert (first >= 0 and end <= size[axis]) or (first <= 0 and end >= size[axis])
        assert pixel is None or first <= pixel[axis] < end


def test_places_of_windows_are_uniform() -> None:
    generator = np.random.default_rng(0)
    corners = [draw_corner((10, 4), (4, 4), generator) for _ in range(7000)]
    counts = np.bincount([row for row, _ in corners], minlength=7)
    assert {column for _, column in corners} == {0}
    assert len(counts) == 7
    assert abs(counts - 1000).max() < 150  # five standard deviations


@given(row=st.integers(0, 3), first=st.tuples(st.integers(-50, 30), st.integers(-50, 30)), side=st.integers(60, 250))
@settings(max_examples=60, deadline=None)
def test_outside_of_an_image_the_edge_is_repeated_without_labels(
    dataset: Dataset, row: int, first: tuple[int, int], side: int
) -> None:
    image, labels = read_window(dataset, row, (first[0], first[0] + side), (first[1], first[1] + side))
    whole, height, width = dataset.image(row), *dataset.sizes[row]
    rows, columns = np.arange(first[0], first[0] + side), np.arange(first[1], first[1] + side)
    near = whole[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)]
    np.testing.assert_array_equal(image, near)
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    expected = dataset.label(row)[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)]
    np.testing.assert_array_equal(labels, np.where(inside, expected, 255))


def test_an_epoch_covers_the_labelled_area_once(dataset: Dataset) -> None:
    shown = TrainingImages(dataset, np.arange(4), crop=(32, 32)).shown
    assert np.bincount(shown).tolist() == [2, 6, 6, 16]  # 2.03, 6, 6.4 and 16 windows of 1,024 pixels
    assert TrainingImages(dataset, np.arange(4), crop=(256, 256)).shown.tolist() == [0, 1, 2, 3]
    assert TrainingImages(dataset, np.array([1, 3])).shown.tolist() == [1, 3]


def test_a_window_around_the_rarest_class_holds_it(dataset: Dataset) -> None:
    training = TrainingImages(dataset, np.arange(4), crop=(32, 48))
    assert (training.label, training.rare_rows.tolist()) == (RARE, [3])
    generator = np.random.default_rng(1)
    images, labels = training.pairs([3] * 60, [True] * 60, generator)
    assert images.shape == (60, 32, 48, 1)
    assert (labels == RARE).any((1, 2)).all()
    _, anywhere = training.pairs([3] * 60, [False] * 60, generator)
    assert 0 < (anywhere == RARE).any((1, 2)).sum() < 50
    _, without = training.pairs([0] * 5, [True] * 5, generator)  # an image that does not hold it
    assert not (without == RARE).any()


def test_a_margin_shows_more_of_the_same_image(dataset: Dataset) -> None:
    training = TrainingImages(dataset, np.arange(4), crop=(32, 32))
    plain, _ = training.pairs([3, 1], [False] * 2, np.random.default_rng(5))
    wide, labels = training.pairs([3, 1], [False] * 2, np.random.default_rng(5), (8, 16))
    assert wide.shape == (2, 48, 64, 1)
    np.testing.assert_array_equal(wide[:, 8:-8, 16:-16], plain)
    assert (labels != 255).any()


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("none", 0, 0),
        ("flips + photometric", 0, 0),
        ("geometric", 0.125, 0.5),
        ("full", 0.125, 0.5),
        ("scale", 0.25, 0.5),
    ],
)
def test_the_margin_of_an_augmentation_is_measured(dataset: Dataset, text: str, least: float, most: float) -> None:
    assert least <= void_margin(resolve_augmentation(text), dataset.image(0)) <= most


def test_copies_are_pasted_from_windows_that_hold_them(dataset: Dataset) -> None:
    training = TrainingImages(dataset, np.arange(4), crop=(32, 32))
    augment = build_augmentation(resolve_augmentation("copy-paste(count=6)"), training)
    pairs = training.pairs([0, 1, 2], [False] * 3, np.random.default_rng(0))
    _, labels = augment(*pairs, np.random.default_rng(1))
    assert (labels == RARE).any((1, 2)).all()


def test_batches_of_windows_have_no_void_from_augmentation(dataset: Dataset) -> None:
    from ensemble.training.batches import epoch_batches

    training = TrainingImages(dataset, np.array([3]), crop=(32, 32))  # 16 windows of an image of 128x128
    batches = list(epoch_batches(training, 4, resolve_augmentation("geometric"), 0, "cpu", "rare(per_batch=2)"))
    assert len(batches) == 4
    labels = np.concatenate([labels.numpy() for _, labels in batches])
    assert labels.shape == (16, 32, 32)
    assert (labels == 255).mean() < 0.1  # only what lies outside of the image; without a margin it is about a quarter
    again = list(epoch_batches(training, 4, resolve_augmentation("geometric"), 0, "cpu", "rare(per_batch=2)", first=2))
    for (one, _), (other, _) in zip(batches[2:], again, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_framed_images_keep_their_proportions() -> None:
    image, labels = np.full((10, 40, 3), 7, np.uint8), np.ones((10, 40), np.uint8)
    wide, wide_labels = framed(image, labels, (64, 64))
    assert wide.shape == (64, 64, 3)
    assert (wide == 7).all()
    assert (wide_labels[:16] == 1).all()
    assert (wide_labels[16:] == 255).all()
    small, small_labels = framed(image, labels, (5, 8))
    assert small.shape == (5, 8, 3)
    assert (small_labels[:2] == 1).all()
    assert (small_labels[2:] == 255).all()


def test_images_of_several_sizes_get_a_frame_for_an_input_size(dataset: Dataset) -> None:
    assert frame_for(dataset, (128, 128)) == (200, 200)  # the scale of the largest image, 33x200
    assert frame_for(dataset, (32, 32)) == (64, 64)  # at most twice the input
    images, labels = TrainingImages(dataset, np.arange(4), frame=(64, 64)).pairs(range(4), [False] * 4, None)  # pyright: ignore[reportArgumentType]
    assert images.shape == (4, 64, 64, 1)
    assert (labels[3] != 255).all()
    assert (labels[2] == 255).any()


@pytest.fixture(scope="module")
def equal(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Dataset]:
    def make(height: int, width: int) -> Dataset:
        masks = np.ones((2, height, width), np.uint8)
        masks[:, 0] = 2
        path = tmp_path_factory.mktemp("equal") / "d.npz"
        np.savez(path, training_set=np.stack([np.zeros_like(masks), masks], axis=1))
        return open_dataset(DataSettings(source=str(path)))

    return make


def test_the_crop_is_chosen_where_nobody_names_one(dataset: Dataset, equal: Callable[..., Dataset]) -> None:
    assert choose_crop(None, dataset, None) == (64, 128)  # the median, 52x112, is smaller than 256x256
    assert choose_crop(None, dataset, (64, 64)) is None
    assert choose_crop("none", equal(600, 600), None) is None
    assert choose_crop(None, equal(600, 600), None) == (256, 256)
    assert choose_crop(None, equal(512, 512), None) is None
    assert choose_crop((64, 64), equal(64, 64), None) is None  # whole images
    assert choose_crop((64, 224), dataset, None) == (64, 224)  # the next multiple of 32


@pytest.mark.parametrize(
    ("asked", "input_size", "text"),
    [
        ("none", None, r"have 4 different sizes, so batches of whole images need one; give input_size, .* or crop"),
        ((64, 64), (64, 64), "input_size resizes whole images, so it takes no crop; drop one"),
        (
            (64, 256),
            None,
            r"the crop 64x256 is larger than every image \(at most 128 high and 200 wide\); give a smaller",
        ),
    ],
)
def test_a_crop_that_cannot_be_is_refused(dataset: Dataset, asked: Any, input_size: Any, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        choose_crop(asked, dataset, input_size)


def test_the_share_of_windows_outside_of_their_images() -> None:
    assert outside_share([(64, 64), (20, 10)], (32, 32)) == pytest.approx((0 + 1 - 200 / 1024) / 2)


def test_reading_masks_is_reported_once_for_all_time(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "images").symlink_to(folder / "images")
    shutil.copytree(folder / "masks", tmp_path / "masks")
    cv2.imwrite(str(tmp_path / "masks" / "0.png"), np.ones(SIZES[0], np.uint8))  # other data than those of the folder
    ticks: list[tuple[str, int, int]] = []
    for _ in range(2):
        open_dataset(DataSettings(source=str(tmp_path)), lambda task, *counts: ticks.append((task, *counts[:2])))
    assert ticks == [("reading masks", done, 4) for done in (1, 2, 3, 4)]
