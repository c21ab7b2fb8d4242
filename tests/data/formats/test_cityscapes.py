"""Cityscapes: 19 classes of the ids, void, cities as groups, the secret test part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import cityscapes, ids, write
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import open_dataset
from ensemble.data.formats.cityscapes import CLASSES, describe


def test_ids_become_the_classes_that_count(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    data = open_dataset(DataSettings(source=str(tmp_path)))
    assert data.classes == ("road", "sidewalk", "building", "vegetation", "sky", "person", "car")
    assert data.values == (7, 8, 11, 21, 23, 24, 26)
    assert data.ids[0] == "aachen_000000_000019"
    mask = np.asarray(Image.open(tmp_path / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"))
    label = data.label(0)
    for number, value in enumerate(data.values):
        np.testing.assert_array_equal(label == number, mask == value)
    np.testing.assert_array_equal(label == 255, ~np.isin(mask, data.values))


def test_a_city_is_a_group_and_parts_are_kept(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    data = open_dataset(DataSettings(source=str(tmp_path)))
    assert data.groups is not None
    assert sorted(set(data.groups)) == ["aachen", "bochum", "frankfurt", "munster"]
    assert {group for group, part in zip(data.groups, data.parts or (), strict=True) if part == "val"} == {
        "frankfurt",
        "munster",
    }
    assert len(data.test_ids) == 3
    assert not data.has_test_labels


def test_a_test_part_with_classes_has_masks(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    for path in (tmp_path / "gtFine" / "test").rglob("*labelIds.png"):
        write(path, ids((0, 7, 26), 0))
    assert open_dataset(DataSettings(source=str(tmp_path))).has_test_labels


def test_ids_for_training_are_read_if_there_are_no_others(tmp_path: Path) -> None:
    for n in range(4):
        name = f"ulm_{n:06d}_000019"
        write(tmp_path / "leftImg8bit/train/ulm" / f"{name}_leftImg8bit.png", ids(range(5), n))
        write(tmp_path / "gtFine/train/ulm" / f"{name}_gtFine_labelTrainIds.png", ids((0, 1, 18, 255), n))
    found = describe(tmp_path)
    assert found is not None
    assert found.classes == {name: (number,) for number, name in enumerate(CLASSES)}
    assert found.void == (255,)
    assert open_dataset(DataSettings(source=str(tmp_path))).classes == ("road", "sidewalk", "bicycle")


def test_without_masks_it_says_what_to_unpack(tmp_path: Path) -> None:
    (tmp_path / "gtFine").mkdir()
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(EnsError, match=r"expected masks such as CITY/NAME_gtFine_labelIds\.png in .*; unpack"):
        describe(tmp_path)
