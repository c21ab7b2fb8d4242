"""Augmentations under one contract: shapes and types stay, masks move with images, randomness comes from the seed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble.data import VOID, Dataset
from ensemble.data.augmentation import pipelines
from ensemble.data.augmentation.expression import build_augmentation, resolve_augmentation
from ensemble.data.augmentation.steps import AUGMENTATIONS
from ensemble.data.windows import TrainingImages

CHANGING = [name for name in AUGMENTATIONS if name != "none"]
MOVING = ["flips", "geometric", "full", "scale"]  # others change labels by mixing
Pairs = tuple[NDArray[np.generic], NDArray[np.uint8]]
Augment = Callable[[str, Pairs, int], Pairs]


def pairs(bands: int = 1, dtype: Any = np.uint8, images: int = 6, seed: int = 0) -> Pairs:
    """Images of random blocks whose values are coded in the masks: 40, 80, 120 for labels 0, 1, 2."""
    labels = np.random.default_rng(seed).integers(0, 3, (images, 4, 5), dtype=np.uint8).repeat(10, 1).repeat(12, 2)
    coded = (40 * (labels.astype(np.int64) + 1))[..., None] + 5 * np.arange(bands)
    return (coded / 255).astype(np.float32) if dtype == np.float32 else coded.astype(dtype), labels


@pytest.fixture
def augment(dataset_of: Callable[..., Dataset]) -> Augment:
    """``augment(text, pairs, seed)``, with pieces taken from other images of the same kind."""

    def apply(text: str, given: Pairs, seed: int) -> Pairs:
        donors = TrainingImages(dataset_of(*pairs(given[0].shape[-1], given[0].dtype, seed=9)), np.arange(5))
        if given[1].shape[1:] != (40, 60):
            donors = TrainingImages(dataset_of(*given), np.arange(len(given[0])))
        return build_augmentation(resolve_augmentation(text), donors)(*given, np.random.default_rng(seed))

    return apply


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("bands", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shapes_types_and_labels_stay(name: str, bands: int, dtype: Any, augment: Augment) -> None:
    images, labels = pairs(bands, dtype)
    before = images.copy(), labels.copy()
    changed, moved = augment(name, (images, labels), 1)
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert moved.shape == labels.shape
    assert moved.dtype == np.uint8
    assert set(np.unique(moved)) <= {0, 1, 2, VOID}
    top = 255 if dtype == np.uint8 else 1
    assert np.isfinite(changed.astype(np.float64)).all()
    assert 0 <= changed.astype(np.float64).min() <= changed.astype(np.float64).max() <= top
    np.testing.assert_array_equal(images, before[0])  # what was given is not changed in place
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_randomness_comes_from_the_generator_alone(name: str, augment: Augment) -> None:
    given = pairs()
    first = augment(name, given, 3)
    np.random.seed(0)  # the global generator does not matter
    again, other = augment(name, given, 3), augment(name, given, 4)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.array_equal(first[0], other[0]) == (name == "none")


@pytest.mark.parametrize("name", MOVING)
def test_images_of_a_batch_are_changed_each_in_its_own_way(name: str, augment: Augment) -> None:
    images, labels = pairs(images=1)
    _, moved = augment(name, (images.repeat(12, 0), labels.repeat(12, 0)), 0)
    assert len({mask.tobytes() for mask in moved}) >= 4


def test_none_changes_nothing(augment: Augment) -> None:
    images, labels = pairs()
    changed, moved = augment("none", (images, labels), 0)
    np.testing.assert_array_equal(changed, images)
    np.testing.assert_array_equal(moved, labels)


@pytest.mark.parametrize("name", ["flips", "geometric", "cutmix", "flips + cutmix(p=1)"])
def test_masks_move_with_their_images(name: str, augment: Augment) -> None:
    changed, moved = augment(name, pairs(images=20), 5)
    coded = np.where(moved == VOID, 0, 40 * (moved.astype(np.int64) + 1))
    agree = np.abs(changed[..., 0].astype(np.int64) - coded) <= 2
    assert agree.mean() > (0.9 if name == "geometric" else 1.0) - 1e-9  # but for edges, which are smooth in images only


def test_flips_are_the_four_flips(augment: Augment) -> None:
    images, labels = pairs(images=1)
    _, moved = augment("flips", (images.repeat(60, 0), labels.repeat(60, 0)), 0)
    mask = labels[0]
    wanted = {flip.tobytes() for flip in (mask, mask[::-1], mask[:, ::-1], mask[::-1, ::-1])}
    assert {flipped.tobytes() for flipped in moved} == wanted


@pytest.mark.parametrize("name", ["geometric", "full"])
def test_borders_become_void(name: str, augment: Augment) -> None:
    images, labels = np.full((40, 40, 60, 1), 200, np.uint8), np.ones((40, 40, 60), np.uint8)
    changed, moved = augment(name, (images, labels), 2)
    outside = moved == VOID
    assert 0.005 < outside.mean() < 0.3
    assert (outside.any((1, 2))).mean() > 0.3
    assert not outside[:, 15:25, 25:35].any()  # the middle is never moved out
    if name == "geometric":
        # The mask is nearest and the image linear: half a pixel in both directions at most, a quarter of the value.
        grey = changed[..., 0].astype(np.int64)
        assert grey[~outside].min() >= 45
        assert grey[outside].max() <= 155


def test_transforms_are_drawn_independently(augment: Augment) -> None:
    """Transforms that share a stream of random numbers would, for example, never flip in one direction only."""
    labels = np.zeros((200, 32, 32), np.uint8)
    labels[:, :16, :16] = 1
    _, moved = augment("geometric", (labels[..., None], labels), 0)
    upper, left = moved[:, 8, 24] == 1, moved[:, 24, 8] == 1  # where the marked quarter went
    straight, opposite = moved[:, 8, 8] == 1, moved[:, 24, 24] == 1
    assert min(where.sum() for where in (upper, left, straight, opposite)) > 30
    shifted = (moved == VOID).any((1, 2))
    for where in (upper, left, straight, opposite):
        assert 0.2 < shifted[where].mean() < 0.95  # whether a tile is shifted says nothing about its flip


@pytest.mark.parametrize("name", ["full", "copy-paste", "cutmix"])
def test_void_stays_void(name: str, augment: Augment) -> None:
    images, labels = pairs()
    _, moved = augment(name, (images, np.full_like(labels, VOID)), 0)
    assert (moved == VOID).all()


def test_full_changes_grey_values_too(augment: Augment) -> None:
    given = np.full((30, 32, 32, 1), 128, np.uint8), np.zeros((30, 32, 32), np.uint8)
    changed, moved = augment("full", given, 0)
    inside = [image[mask != VOID].astype(float) for image, mask in zip(changed[..., 0], moved, strict=True)]
    assert np.std([np.median(values) for values in inside]) > 3
    assert sum(values[values > 60].std() > 2 for values in inside) >= 4  # noise
    plain, _ = augment("geometric", given, 0)
    assert set(np.unique(plain[:, 16, 16])) == {128}


def test_mirrored_borders_bring_no_void(augment: Augment) -> None:
    images, labels = augment("scale(low=0.5, high=0.6, border=mirror)", pairs(bands=3), 5)
    assert not (labels == VOID).any()
    assert images.any((1, 2, 3)).all()


def test_only_one_file_imports_albumentations() -> None:
    package = Path(pipelines.__file__).resolve().parents[2]
    importing = [
        path.name
        for path in package.rglob("*.py")
        if re.search(r"^\s*(import|from) albumentations", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importing == ["pipelines.py"]
