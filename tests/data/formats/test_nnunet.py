"""nnU-Net's raw data: channels, labels of both versions, regions, the label ignore, volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import ids, nnunet, picture, write
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import open_dataset
from ensemble.data.description import Description
from ensemble.data.formats.nnunet import describe


def labelled(root: Path, labels: Any) -> Description:
    """Return the description of one image with these labels in dataset.json."""
    picture(root / "imagesTr" / "a_0000.png", 0)
    write(root / "labelsTr" / "a.png", ids((0, 1, 2, 3), 0))
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    found = describe(root)
    assert found is not None
    return found


def test_channels_are_bands_and_ignore_is_void(tmp_path: Path) -> None:
    nnunet(tmp_path)
    data = open_dataset(DataSettings(source=str(tmp_path)))
    assert data.classes == ("background", "nucleus", "outline")
    assert data.bands == 2
    assert data.ids[0] == "cell_000"
    for band in range(2):
        expected = np.asarray(Image.open(tmp_path / "imagesTr" / f"cell_000_000{band}.png"))
        np.testing.assert_array_equal(data.image(0)[..., band], expected)
    mask = np.asarray(Image.open(tmp_path / "labelsTr" / "cell_000.png"))
    np.testing.assert_array_equal(data.label(0), np.where(mask == 3, 255, mask))
    assert data.test_ids == ("cell_100", "cell_101")
    assert data.has_test_labels


def test_the_first_version_names_ids(tmp_path: Path) -> None:
    assert labelled(tmp_path, {"0": "background", "1": "liver"}).classes == {"background": (0,), "liver": (1,)}


def test_of_regions_within_each_other_the_outer_keeps_the_rest(tmp_path: Path) -> None:
    labels = {"background": 0, "whole tumour": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
    assert labelled(tmp_path, labels).classes == {
        "background": (0,),
        "whole tumour": (1,),
        "core": (2,),
        "enhancing": (3,),
    }


def test_regions_side_by_side_are_classes_of_several_values(tmp_path: Path) -> None:
    found = labelled(tmp_path, {"background": 0, "plant": [1, 2], "ignore": 3})
    assert found.classes == {"background": (0,), "plant": (1, 2)}
    assert found.void == (3,)


def test_labels_that_are_no_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"expected ids, or lists of ids, in 'labels' of .*; correct 'liver'"):
        labelled(tmp_path, {"background": 0, "liver": "one"})


@pytest.mark.parametrize("text", ["{", "[]", '{"labels": 3}'])
def test_a_damaged_dataset_json_is_refused(text: str, tmp_path: Path) -> None:
    nnunet(tmp_path)
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(EnsError, match=r"expected (JSON|an object with 'labels') in .*dataset\.json"):
        describe(tmp_path)


def test_volumes_are_refused_in_one_sentence(tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    (tmp_path / "imagesTr" / "a_0000.nii.gz").write_bytes(b"x")
    with pytest.raises(EnsError, match=r"got nnU-Net's volumes \(\.nii\.gz\); write their slices as PNG or TIFF"):
        describe(tmp_path)


def test_a_missing_channel_is_named(tmp_path: Path) -> None:
    nnunet(tmp_path)
    (tmp_path / "imagesTr" / "cell_002_0001.png").unlink()
    with pytest.raises(
        EnsError, match=r"1 of 6 files in .* have no file imagesTr/\{id\}_0001\.\*, the first is cell_002"
    ):
        open_dataset(DataSettings(source=str(tmp_path)))


def test_files_without_a_channel_are_images(tmp_path: Path) -> None:
    picture(tmp_path / "imagesTr" / "a.png", 0)
    write(tmp_path / "labelsTr" / "a.png", ids((0, 1), 0))
    found = describe(tmp_path)
    assert found is not None
    assert found.train.images == ("imagesTr/{id}.*",)
    assert found.test is None
