"""What belongs to pixels moves exactly as labels do, or the augmentation is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.void import VOID
from ensemble.data import open_dataset
from ensemble.data.augmentation.expression import build_augmentation, resolve_augmentation
from ensemble.data.augmentation.tracing import check_traceable, trace, with_targets
from ensemble.data.windows import TrainingImages

NOTHING: Any = TrainingImages(None, np.zeros(0, np.int64))  # pyright: ignore[reportArgumentType]
MOVING = (
    "none",
    "hflip",
    "vflip",
    "rotate90",
    "scale",
    "scale(border=mirror)",
    "flips",
    "geometric",
    "full",
    "cutmix(p=1)",
    "hflip + scale(low=0.67, high=1.5, border=mirror)",
)


def pairs_of(generator: np.random.Generator, size: tuple[int, int, int]) -> tuple[Any, Any]:
    labels = generator.integers(0, 4, size).astype(np.uint8)
    labels[labels == 3] = VOID
    return generator.integers(0, 256, (*size, 1), dtype=np.uint8), labels


@pytest.mark.parametrize("text", [*MOVING, "hflip + scale + photometric", "geometric + cutmix(p=1) + rotate90"])
def test_codes_move_with_the_labels(text: str) -> None:
    augment = build_augmentation(resolve_augmentation(text), NOTHING)
    images, labels = pairs_of(np.random.default_rng(3), (3, 21, 30))
    # Codes that are the label itself, and one that tells the pixels of the batch apart as far as a byte can.
    spread = (np.arange(labels.size).reshape(labels.shape) * 7 % 251).astype(np.uint8)
    codes = np.stack([labels, spread], axis=-1)
    plain_images, plain_labels = augment(images, labels, np.random.default_rng(5))
    found_images, targets = with_targets(augment, (images, labels), codes, np.random.default_rng(5))
    np.testing.assert_array_equal(found_images, plain_images)
    np.testing.assert_array_equal(targets[..., 0], plain_labels)
    np.testing.assert_array_equal(targets[..., 1], plain_labels)
    _, moved = augment(images, spread, np.random.default_rng(5))
    np.testing.assert_array_equal(targets[..., 2], moved)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000), st.sampled_from(MOVING[:6]))
def test_every_pixel_names_where_it_comes_from(count: int, height: int, width: int, seed: int, text: str) -> None:
    augment = build_augmentation(resolve_augmentation(text), NOTHING)
    pairs = pairs_of(np.random.default_rng(seed), (count, height, width))
    (_, labels), places = trace(augment, pairs, np.random.default_rng(seed))
    inside = places >= 0
    np.testing.assert_array_equal(pairs[1].ravel()[places[inside]], labels[inside])
    assert (labels[~inside] == VOID).all()
    if "scale" not in text:
        np.testing.assert_array_equal(np.sort(places.ravel()), np.arange(labels.size))


def test_the_random_numbers_afterwards_are_those_without_tracing() -> None:
    augment = build_augmentation(resolve_augmentation("scale + photometric"), NOTHING)
    pairs = pairs_of(np.random.default_rng(0), (2, 16, 16))
    one, other = np.random.default_rng(9), np.random.default_rng(9)
    augment(*pairs, one)
    trace(augment, pairs, other)
    assert one.random() == other.random()


def test_copy_paste_is_refused_before_training(tiny_npz: Path) -> None:
    dataset = open_dataset(DataSettings(source=str(tiny_npz)))
    training = TrainingImages(dataset, np.arange(12))
    with pytest.raises(
        EnsError, match=r"draws by them, as copy-paste does, .* leave out the step that does of 'hflip \+"
    ):
        check_traceable(resolve_augmentation("hflip + copy-paste"), training)
    check_traceable(resolve_augmentation("geometric + cutmix"), training)


def test_labels_that_are_no_number_of_a_pixel_are_refused_too() -> None:
    def paste(images: Any, labels: Any, _: np.random.Generator) -> Any:
        pasted = labels.copy()
        pasted[:, :2] = 3  # also in the digits, which then name pixels that the batch does not have
        return images, pasted

    pairs = pairs_of(np.random.default_rng(0), (2, 16, 16))
    with pytest.raises(EnsError, match="the augmentation changes labels"):
        trace(paste, pairs, np.random.default_rng(0))


def test_a_step_that_changes_labels_is_refused() -> None:
    def spoil(images: Any, labels: Any, _: np.random.Generator) -> Any:
        return images, np.where(labels == 1, 2, labels).astype(np.uint8)

    with pytest.raises(EnsError, match="the augmentation changes labels"):
        trace(spoil, pairs_of(np.random.default_rng(0), (1, 8, 8)), np.random.default_rng(0))
