"""Tables of run lengths in the forms of Kaggle's competitions, and what is wrong with them, in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import open_dataset
from ensemble.data.formats.run_lengths import describe
from ensemble.data.open_source import open_source, understand

HEIGHT, WIDTH = 4, 6  # a column has 4 pixels, so "5 8" is the second and third column


def draw(folder: Path, names: str, ending: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names.split()):
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}{ending}")


def table(root: Path, text: str, name: str = "train.csv") -> None:
    (root / name).write_text(text)


def test_airbus_has_several_rows_for_an_image(tmp_path: Path) -> None:
    table(tmp_path, "ImageId,EncodedPixels\na.jpg,5 2\na.jpg,9 4\nb.jpg,\nc.jpg,1 4 21 4\n", "train_ship_v2.csv")
    table(tmp_path, "ImageId,EncodedPixels\nz.jpg,1 2\n", "sample_submission_v2.csv")
    draw(tmp_path / "train_v2", "a b c")
    draw(tmp_path / "test_v2", "z")
    dataset = open_dataset(DataSettings(source=str(tmp_path)))
    assert dataset.classes == ("background", "object")
    assert dataset.test_ids == ("z",)
    united = np.zeros((HEIGHT, WIDTH), np.uint8)
    united[:2, 1], united[:, 2] = 1, 1
    assert np.array_equal(dataset.label(0), united)
    assert not dataset.label(1).any()
    assert dataset.label(2)[0].tolist() == [1, 0, 0, 0, 0, 1]


def test_steel_has_an_image_and_class_in_one_column(tmp_path: Path) -> None:
    table(tmp_path, "ImageId_ClassId,EncodedPixels\na.jpg_1,1 4\na.jpg_2,-1\na.jpg_4,5 4\nb.jpg_1,\n")
    draw(tmp_path / "train_images", "a b")
    draw(tmp_path / "test_images", "z")
    dataset = open_dataset(DataSettings(source=str(tmp_path)))
    assert dataset.classes == ("background", "class 1", "class 4")
    assert dataset.values == (0, 1, 4)
    assert dataset.label(0)[0].tolist() == [1, 2, 0, 0, 0, 0]


def test_names_of_classes_are_numbered_in_their_order(tmp_path: Path) -> None:
    table(tmp_path, "Image_Label,EncodedPixels\na.jpg_Sugar,1 4\na.jpg_Fish,5 4\nb.jpg_Fish,\n")
    draw(tmp_path / "train", "a b")
    dataset = open_dataset(DataSettings(source=str(tmp_path)))
    assert dataset.classes == ("background", "Fish", "Sugar")
    assert dataset.label(0)[0].tolist() == [2, 1, 0, 0, 0, 0]


def test_salt_has_names_without_ending_and_semicolons_are_read(tmp_path: Path) -> None:
    table(tmp_path, "\ufeffid;rle_mask\na;1 4\nb;\n")
    table(tmp_path, "id,z\na,5\nb,7\n", "depths.csv")
    draw(tmp_path / "train" / "images", "a b", ".png")
    source = open_source(str(tmp_path))
    assert source.ids == ("a", "b")
    assert source.masks([0])[0, 0].tolist() == [1, 0, 0, 0, 0, 0]


def test_classes_from_0_are_moved_by_one_and_smaller_objects_lie_above(tmp_path: Path) -> None:
    table(tmp_path, "ImageId,ClassId,EncodedPixels\na.jpg,0,1 2\na.jpg,1,1 8\nb.jpg,1,NaN\n")
    draw(tmp_path / "images", "a b")
    dataset = open_dataset(DataSettings(source=str(tmp_path)))
    assert dataset.classes == ("background", "class 0", "class 1")
    assert dataset.label(0)[:, :3].T.tolist() == [[1, 1, 2, 2], [2, 2, 2, 2], [0, 0, 0, 0]]


def test_parts_come_from_the_names_of_tables(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        table(tmp_path, f"ImageId,EncodedPixels\n{part}1.jpg,1 4\n{part}2.jpg,\n", f"{part}.csv")
        draw(tmp_path / "images" / part, f"{part}1 {part}2")
    source = open_source(str(tmp_path))
    assert source.parts == ("train", "train", "val", "val")
    assert source.has_test_masks
    assert source.test_mask(0).sum() == 4


def test_a_written_description_gives_the_same_data(tmp_path: Path) -> None:
    test_steel_has_an_image_and_class_in_one_column(tmp_path)
    (tmp_path / "data.toml").write_text(understand(tmp_path).completed.description.to_toml())
    one, other = open_source(str(tmp_path)), open_source(str(tmp_path / "data.toml"))
    assert one.fingerprint == other.fingerprint
    assert np.array_equal(one.masks([0, 1]), other.masks([0, 1]))


def test_runs_may_be_longer_than_python_expects_of_csv(tmp_path: Path) -> None:
    runs = " ".join(["1 4"] * 50_000)  # 200 kB
    table(tmp_path, f"ImageId,EncodedPixels\na.jpg,{runs}\nb.jpg,\n")
    draw(tmp_path / "images", "a b")
    assert open_source(str(tmp_path)).masks([0]).sum() == 4


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.jpg,1 2 3", "the runs of the image a in .*train.csv cannot be read: expected pairs"),
        ("a.jpg,20 9", "a run lies outside of the image 4x6, whose pixels are 1 to 24"),
        (",1 2", "line 2 of .*train.csv names no image"),
    ],
)
def test_a_damaged_row_is_named(row: str, reason: str, tmp_path: Path) -> None:
    table(tmp_path, f"ImageId,EncodedPixels\n{row}\nb.jpg,1 2\n")
    draw(tmp_path / "images", "a b")
    with pytest.raises(EnsError, match=reason):
        open_dataset(DataSettings(source=str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ImageId_ClassId,EncodedPixels\na.jpg,1 2\n", "expected IMAGE_CLASS in the column ImageId_ClassId"),
        ("ImageId,ClassId,EncodedPixels\na.jpg,,1 2\n", "line 2 of .*has runs, but no class"),
        ("ImageId,EncodedPixels\na.jpg,\n", "holds no object"),
        ("ImageId,EncodedPixels\nx.jpg,1 2\n", "names x.jpg, but none of"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(text: str, reason: str, tmp_path: Path) -> None:
    table(tmp_path, text)
    draw(tmp_path / "images", "a")
    with pytest.raises(EnsError, match=reason):
        describe(tmp_path)


def test_images_of_another_size_are_named(tmp_path: Path) -> None:
    table(tmp_path, "id,annotation,height,width\na,1 2,40,60\nb,1 2,4,6\n")
    draw(tmp_path / "images", "a b")
    with pytest.raises(EnsError, match="says that the image a is 40x60, but it is 4x6"):
        open_dataset(DataSettings(source=str(tmp_path)))


def test_other_tables_are_no_run_lengths(tmp_path: Path) -> None:
    table(tmp_path, "id,group\na,1\n")
    table(tmp_path, "id,segmentation\na,careful\nb,\n", "quality.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\0\1\2")
    draw(tmp_path / "images", "a")
    assert describe(tmp_path) is None
