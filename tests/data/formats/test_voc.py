"""Pascal VOC: palette masks, lists, names of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import ids, picture, voc, voc_palette, write
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import Dataset, open_dataset
from ensemble.data.formats.voc import CLASSES, describe


def opened(root: Path) -> Dataset:
    return open_dataset(DataSettings(source=str(root)))


def lists(root: Path) -> Path:
    return root / "ImageSets" / "Segmentation"


def test_palette_masks_are_ids_and_255_is_void(tmp_path: Path) -> None:
    voc(tmp_path)
    data = opened(tmp_path)
    assert data.classes == ("background", "aeroplane", "person", "tvmonitor")  # those that masks hold
    assert data.values == (0, 1, 15, 20)
    row = data.ids.index("2007_000039")
    mask = np.asarray(Image.open(tmp_path / "SegmentationClass" / "2007_000039.png"))
    label = data.label(row)
    for number, value in enumerate(data.values):
        np.testing.assert_array_equal(label == number, mask == value)
    np.testing.assert_array_equal(label == 255, mask == 255)


def test_its_palette_has_the_known_colours() -> None:
    colours = np.array(voc_palette()).reshape(-1, 3)
    assert colours[[1, 15, 20]].tolist() == [[128, 0, 0], [192, 128, 128], [0, 64, 128]]


def test_the_lists_give_the_parts_and_the_rest_is_counted(tmp_path: Path) -> None:
    voc(tmp_path)
    data = opened(tmp_path)
    parts = dict(zip(data.ids, data.parts or (), strict=True))
    assert {name for name, part in parts.items() if part == "val"} == {"2007_000033", "2007_000042"}
    assert len(parts) == 6
    assert any("no list names them: 1 images (2007_000027)" in note for note in data.notes)


def test_a_test_list_without_masks_gives_test_images(tmp_path: Path) -> None:
    voc(tmp_path)
    (lists(tmp_path) / "test.txt").write_text("2007_000027\n")
    data = opened(tmp_path)
    assert data.test_ids == ("2007_000027",)
    assert not data.has_test_labels


def test_without_lists_images_without_masks_are_refused(tmp_path: Path) -> None:
    voc(tmp_path)
    for path in lists(tmp_path).iterdir():
        path.unlink()
    with pytest.raises(EnsError, match=r"expected the list .*train\.txt, because 1 of 7 images have no mask"):
        describe(tmp_path)


@pytest.mark.parametrize(("highest", "named"), [(20, True), (3, False), (21, False)])
def test_own_images_get_its_names_if_their_ids_are_its(highest: int, named: bool, tmp_path: Path) -> None:
    for n in range(4):
        picture(tmp_path / "JPEGImages" / f"own{n}.jpg", n)
        write(tmp_path / "SegmentationClass" / f"own{n}.png", ids(range(highest + 1), n), voc_palette())
    found = describe(tmp_path)
    assert found is not None
    assert (found.classes is not None and tuple(found.classes) == CLASSES) is named


def test_a_file_of_names_comes_first(tmp_path: Path) -> None:
    """As labelme writes it: `__ignore__` has no id."""
    for n in range(4):
        picture(tmp_path / "JPEGImages" / f"2007_00000{n}.jpg", n)
        write(tmp_path / "SegmentationClass" / f"2007_00000{n}.png", ids((0, 1, 2, 255), n), voc_palette())
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ncup\nplate\n")
    assert opened(tmp_path).classes == ("_background_", "cup", "plate")


def test_cvat_writes_colours_with_a_label_map(tmp_path: Path) -> None:
    table = np.array([[0, 0, 0], [250, 50, 83], [51, 221, 255]], np.uint8)
    for n in range(4):
        picture(tmp_path / "JPEGImages" / f"{n}.jpg", n)
        write(tmp_path / "SegmentationClass" / f"{n}.png", table[ids((0, 1, 2), n)])
    lists(tmp_path).mkdir(parents=True)
    (lists(tmp_path) / "default.txt").write_text("".join(f"{n}\n" for n in range(4)))
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nship:51,221,255::\ncar:250,50,83::\n"
    )
    data = opened(tmp_path)
    assert data.classes == ("background", "ship", "car")
    np.testing.assert_array_equal(data.label(0), np.array([0, 2, 1])[ids((0, 1, 2), 0)])
