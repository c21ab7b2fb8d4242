"""Images without labels lie behind the labelled ones, void everywhere, whatever the ids of the classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.config import DataSettings
from ensemble.core.void import VOID
from ensemble.data import open_dataset
from ensemble.data.unlabelled import UnlabelledImages, with_unlabelled
from ensemble.data.windows import TrainingImages


@pytest.mark.parametrize("background", ["void", "class", "zero-weight"])
def test_rows_after_the_labelled_ones_are_the_new_images(tiny_npz: Path, background: Any) -> None:
    dataset = open_dataset(DataSettings(source=str(tiny_npz), background=background))
    more = UnlabelledImages(("a", "b"), ((32, 32), (32, 32)), lambda number: np.full((32, 32, 1), number, np.uint8))
    both = with_unlabelled(dataset, more)
    assert (both.ids, both.test_ids) == ((*dataset.ids, "a", "b"), dataset.test_ids)
    np.testing.assert_array_equal(
        both.counts_nk, np.concatenate([dataset.counts_nk, np.zeros_like(dataset.counts_nk[:2])])
    )
    images, labels = both.images([3, 25]), both.labels([3, 25])
    np.testing.assert_array_equal(images, np.stack([dataset.image(3), np.full((32, 32, 1), 1, np.uint8)]))
    np.testing.assert_array_equal(labels, np.stack([dataset.label(3), np.full((32, 32), VOID)]))


def test_windows_of_them_are_void(tiny_npz: Path) -> None:
    dataset = open_dataset(DataSettings(source=str(tiny_npz)))
    ramp = np.arange(50 * 60).reshape(50, 60, 1).astype(np.uint8)
    both = with_unlabelled(dataset, UnlabelledImages(("a",), ((50, 60),), lambda _: ramp))
    training = TrainingImages(both, np.arange(4), crop=(16, 16))
    places = training.places([24, 0], [False, False], np.random.default_rng(0))
    images, labels = training.read(places)
    rows, columns = places[0].rows, places[0].columns
    np.testing.assert_array_equal(images[0], ramp[slice(*rows), slice(*columns)])
    assert (labels[0] == VOID).all()
    assert (labels[1] != VOID).any()


def test_no_images_change_nothing(tiny_npz: Path) -> None:
    dataset = open_dataset(DataSettings(source=str(tiny_npz)))
    assert with_unlabelled(dataset, UnlabelledImages((), (), lambda _: np.zeros(0))) is dataset
