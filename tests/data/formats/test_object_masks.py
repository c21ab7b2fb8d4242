"""A mask file for every object: united, in several sizes, with and without parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import object_masks, picture, write
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import open_dataset
from ensemble.data.formats.object_masks import describe

RAW = Path(__file__).resolve().parents[4] / "shared" / "data" / "nuclei_raw"


def test_objects_are_united_and_have_the_value_of_the_masks(tmp_path: Path) -> None:
    object_masks(tmp_path)
    data = open_dataset(DataSettings(source=str(tmp_path)))
    assert data.classes == ("background", "nucleus")
    assert data.values == (0, 255)
    assert len(set(data.source.sizes)) == 2
    for row, name in enumerate(data.ids):
        masks = [np.asarray(Image.open(path)) for path in (tmp_path / "stage1_train" / name / "masks").iterdir()]
        np.testing.assert_array_equal(data.label(row), np.max(masks, axis=0) > 0)
        assert data.image(row).shape[2] == 3  # without transparency


def test_test_images_have_no_masks(tmp_path: Path) -> None:
    object_masks(tmp_path)
    data = open_dataset(DataSettings(source=str(tmp_path)))
    assert len(data.test_ids) == 2
    assert not data.has_test_labels


def test_one_part_is_a_data_set_too(tmp_path: Path) -> None:
    object_masks(tmp_path)
    found = describe(tmp_path / "stage1_train")
    assert found is not None
    assert found.train.images == ("{id}/images/{id}.*",)
    assert found.train.masks == "{id}/masks/*.*"


def test_images_of_another_name_and_objects_of_one(tmp_path: Path) -> None:
    for n in range(3):
        picture(tmp_path / f"well{n}" / "images" / "scan.png", n)
        mask = np.zeros((24, 32), np.uint8)
        mask[3:9, n : n + 5] = 1
        write(tmp_path / f"well{n}" / "masks" / "cell.png", mask)
    found = describe(tmp_path)
    assert found is not None
    assert found.classes == {"background": (0,), "object": (1,)}
    data = open_dataset(DataSettings(source=str(tmp_path)))
    assert data.ids == ("well0", "well1", "well2")
    assert (data.label(2) == 1).sum() == 30


def test_parts_that_hold_one_image_are_no_images(tmp_path: Path) -> None:
    for part in ("train", "val"):
        picture(tmp_path / part / "images" / "a.png", 0)
        write(tmp_path / part / "masks" / "a.png", np.ones((24, 32), np.uint8))
    assert describe(tmp_path) is None


def test_masks_without_objects_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "images" / "a.png", 0)
    write(tmp_path / "a" / "masks" / "1.png", np.zeros((24, 32), np.uint8))
    with pytest.raises(EnsError, match=r"expected a file for each object in .*, got no object or colours"):
        describe(tmp_path)


@pytest.mark.data
@pytest.mark.skipif(not RAW.is_dir(), reason="the shared data are absent")
def test_real_nuclei_are_understood_as_they_lie_there() -> None:
    data = open_dataset(DataSettings(source=str(RAW)))
    assert data.classes == ("background", "nucleus")
    assert len(data.ids) == 98
    assert len(set(data.source.sizes)) == 9
