"""CamVid in its three forms: the right values, official parts, and what is only like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import CAMVID_COLOURS, camvid_colours, camvid_original, camvid_segnet, ids, write
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import Dataset, open_dataset
from ensemble.data.formats.camvid import CLASSES, describe


def opened(root: Path) -> Dataset:
    return open_dataset(DataSettings(source=str(root)))


def test_segnet_has_eleven_classes_and_void_is_eleven(tmp_path: Path) -> None:
    camvid_segnet(tmp_path)
    data = opened(tmp_path)
    assert data.classes == CLASSES
    assert data.values == tuple(range(11))
    for row, name in enumerate(data.ids):
        part = (data.parts or ())[row]
        mask = np.asarray(Image.open(tmp_path / f"{part}annot" / f"{name}.png"))
        np.testing.assert_array_equal(data.label(row), np.where(mask == 11, 255, mask))


def test_official_parts_are_kept_and_test_images_have_masks(tmp_path: Path) -> None:
    camvid_segnet(tmp_path)
    data = opened(tmp_path)
    assert [name for name, part in zip(data.ids, data.parts or (), strict=True) if part == "val"] == [
        "0016E5_07959",
        "0016E5_07961",
        "0016E5_07963",
    ]
    assert data.test_ids == ("Seq05VD_f00000", "Seq05VD_f00030")
    assert data.has_test_labels
    assert not set(data.ids) & set(data.test_ids)


def test_a_list_leaves_images_out_and_they_are_counted(tmp_path: Path) -> None:
    camvid_segnet(tmp_path)
    lines = (tmp_path / "train.txt").read_text().splitlines()
    (tmp_path / "train.txt").write_text("\n".join(lines[1:]))
    data = opened(tmp_path)
    assert "0001TP_006690" not in data.ids
    assert any(note.endswith("no list names them: 1 images (0001TP_006690)") for note in data.notes)


def test_a_list_that_names_an_absent_image_is_refused(tmp_path: Path) -> None:
    camvid_segnet(tmp_path)
    (tmp_path / "val.txt").write_text("val/0016E5_99999.png valannot/0016E5_99999.png\n")
    with pytest.raises(EnsError, match=r"val\.txt names the image 0016E5_99999\.png, but there is no such image"):
        opened(tmp_path)


@pytest.mark.parametrize(("values", "classes"), [((0, 1, 2), None), (range(12), CLASSES), ((0, 1, 11), None)])
def test_other_images_get_its_classes_only_with_all_of_its_ids(
    values: tuple[int, ...], classes: tuple[str, ...] | None, tmp_path: Path
) -> None:
    for n in range(4):
        for folder in ("train", "trainannot"):
            write(tmp_path / folder / f"street{n}.png", ids(values, n))
    found = describe(tmp_path)
    assert found is not None
    assert (found.classes and tuple(found.classes)) == classes


def test_colours_are_named_by_the_table(tmp_path: Path) -> None:
    camvid_colours(tmp_path)
    data = opened(tmp_path)
    assert data.classes == tuple(name for name in CAMVID_COLOURS if name != "Void")
    mask = np.asarray(Image.open(tmp_path / "train_labels" / f"{data.ids[0]}_L.png")).astype(int)
    label = data.label(0)
    for number, name in enumerate(data.classes):
        np.testing.assert_array_equal(label == number, (mask == CAMVID_COLOURS[name]).all(-1))
    np.testing.assert_array_equal(label == 255, (mask == 0).all(-1))


def test_the_original_folders_are_known(tmp_path: Path) -> None:
    camvid_original(tmp_path)
    data = opened(tmp_path)
    assert data.classes == ("Animal", "Bicyclist", "Building", "Car", "Road", "Sky")
    assert data.void_share == pytest.approx(1 / 7, abs=0.05)
    assert data.ids[0] == "0001TP_006690"


def test_the_original_without_images_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "LabeledApproved_full" / "a_L.png", ids((0, 1), 0))
    with pytest.raises(EnsError, match=r"expected CamVid's images in .*701_StillsRaw_full, .* found none; unpack"):
        describe(tmp_path)


def test_masks_of_other_names_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train" / "abc.png", ids((0, 1), 0))
    write(tmp_path / "trainannot" / "xyz.png", ids((0, 1), 0))
    with pytest.raises(EnsError, match=r"names of the images in .*train, got xyz\.png and abc\.png; rename"):
        describe(tmp_path)
