"""Folders of usual names in any order, masks next to their images, lists, and what is ambiguous."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import ids, images_and_masks, pairs_of, parts_of, picture, write
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import Dataset, open_dataset
from ensemble.data.formats.pairs import describe
from ensemble.data.formats.registry import recognise

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases"


def opened(root: Path) -> Dataset:
    return open_dataset(DataSettings(source=str(root)))


def patterns(root: Path) -> tuple[str, str]:
    found = describe(root)
    assert found is not None
    assert found.train.masks is not None
    return found.train.images[0], found.train.masks


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.png", "masks/{}_mask.png"),
        ("images/{}.jpg", "labels/{}_L.png"),
        ("imgs/{}.png", "gt/gt_{}.png"),
        ("x/{}.png", "y/{}.png"),
        ("Input/{}.png", "Target/{}.png"),
        ("photos/{}.png", "annotations/trimaps/{}.png"),
        ("set/images/{}.png", "set/masks/{}.png"),
        ("images/{}_image.png", "labels/{}_label.png"),
        ("{}.jpg", "masks/{}.png"),
        ("all/{}.tif", "all/{}_seg.tif"),
        ("{}.png", "{}_mask.png"),
        ("Kvasir-SEG/images/{}.jpg", "Kvasir-SEG/masks/{}.png"),
        ("Set 1/Kvasir-SEG/images/{}.jpg", "Set 1/Kvasir-SEG/masks/{}.png"),
        ("images/{}.tif", "1st_manual/{}_manual1.png"),
    ],
)
def test_a_mask_belongs_to_its_image(image: str, mask: str, tmp_path: Path) -> None:
    pairs_of(image, mask)(tmp_path)
    data = opened(tmp_path)
    assert data.ids == tuple(f"{n:04d}" for n in range(6))
    for n in range(6):
        expected = np.asarray(Image.open(tmp_path / mask.format(f"{n:04d}")))
        np.testing.assert_array_equal(data.label(n), expected)


@pytest.mark.parametrize(
    ("image", "mask", "parts"),
    [
        ("images/{part}/{name}.png", "masks/{part}/{name}.png", ("train", "val", "test")),
        ("{part}/images/{name}.png", "{part}/masks/{name}.png", ("train", "valid", "test")),
        ("{part}/Images/{name}.png", "{part}/Labels/{name}.png", ("Training", "Validation", "Testing")),
        ("img_dir/{part}/{name}.jpg", "ann_dir/{part}/{name}.png", ("train", "val", "test")),
        ("X_{part}/{name}.png", "y_{part}/{name}.png", ("train", "val", "test")),
        ("{part}/{name}.png", "{part}_masks/{name}.png", ("train", "val", "test")),
        ("{part}/{name}.png", "{part}/{name}_gt.png", ("train", "val", "test")),
    ],
)
def test_parts_are_kept(image: str, mask: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    parts_of(image, mask, parts)(tmp_path)
    data = opened(tmp_path)
    assert data.ids == tuple(f"{n:04d}" for n in (*range(6), *range(10, 14)))
    assert data.parts == ("train",) * 6 + ("val",) * 4
    assert data.test_ids == ("0020", "0021")
    assert data.has_test_labels


def test_cities_below_a_part_are_one_part(tmp_path: Path) -> None:
    for n, city in enumerate(("aachen", "bochum")):
        for k in range(3):
            picture(tmp_path / "images" / "train" / city / f"{city}{k}.png", k)
            write(tmp_path / "masks" / "train" / city / f"{city}{k}.png", ids((0, 1), n))
    assert patterns(tmp_path) == ("images/train/*/{id}.*", "masks/train/*/{id}.*")
    assert len(opened(tmp_path).ids) == 6


def test_regions_between_part_and_kind_are_one_part(tmp_path: Path) -> None:
    for n, region in enumerate(("Rural", "Urban")):
        for k in range(3):
            picture(tmp_path / "Train" / region / "images_png" / f"{3 * n + k}.png", k)
            write(tmp_path / "Train" / region / "masks_png" / f"{3 * n + k}.png", ids((0, 1), n))
    assert patterns(tmp_path) == ("Train/*/images_png/{id}.*", "Train/*/masks_png/{id}.*")
    assert len(opened(tmp_path).ids) == 6


def test_frames_of_one_name_in_several_folders_are_refused(tmp_path: Path) -> None:
    for video in ("a", "b"):
        pairs_of(f"images/{video}/{{}}.png", f"masks/{video}/{{}}.png", count=2)(tmp_path)
    with pytest.raises(EnsError, match=r"0000\.png and .*0000\.png have the same name; rename one"):
        opened(tmp_path)


def test_masks_in_colours_beside_masks_with_ids_are_named(tmp_path: Path) -> None:
    pairs_of("images/{}.png", "annotations/ids/{}.png")(tmp_path)
    for n in range(6):
        picture(tmp_path / "annotations" / "shown" / f"{n:04d}.png", n)
    assert patterns(tmp_path) == ("images/{id}.*", "annotations/ids/{id}.*")
    assert any("annotations/shown/" in note for note in opened(tmp_path).notes)


def test_lists_give_the_parts_of_one_folder(tmp_path: Path) -> None:
    images_and_masks(tmp_path)
    names = {"train": "0000 0001 0002", "val": "0003\n0004", "test": "0005.png"}
    for part, text in names.items():
        (tmp_path / f"{part}.txt").write_text(text.replace(" ", "\n"))
    data = opened(tmp_path)
    assert data.parts == ("train",) * 3 + ("val",) * 2
    assert data.test_ids == ("0005",)
    assert data.has_test_labels
    assert data.classes == ("background", "nucleus", "outline")


def test_a_list_of_validation_images_leaves_the_rest_for_training(tmp_path: Path) -> None:
    """As fastai has CamVid: codes.txt names the ids, valid.txt the validation images."""
    pairs_of("images/{}.png", "labels/{}_P.png")(tmp_path)
    (tmp_path / "codes.txt").write_text("Animal\nRoad\nVoid\n")
    (tmp_path / "valid.txt").write_text("0001.png\n0004.png\n")
    data = opened(tmp_path)
    assert data.parts == ("train", "train", "train", "train", "val", "val")
    assert data.ids == ("0000", "0002", "0003", "0005", "0001", "0004")
    assert data.classes == ("Animal", "Road")
    assert data.void_share == pytest.approx(1 / 3, abs=0.05)
    assert not any("valid.txt" in note for note in data.notes)


def test_a_validation_folder_next_to_images_and_masks_is_used(tmp_path: Path) -> None:
    images_and_masks(tmp_path)
    parts_of("{part}/images/{name}.png", "{part}/masks/{name}.png", ("train", "val"))(tmp_path / "x")
    (tmp_path / "x" / "val").rename(tmp_path / "val")
    for path in sorted((tmp_path / "x").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    data = opened(tmp_path)
    assert data.parts == ("train",) * 6 + ("val",) * 4


def test_one_missing_mask_is_named(tmp_path: Path) -> None:
    pairs_of("images/{}.png", "masks/{}_mask.png")(tmp_path)
    (tmp_path / "masks" / "0003_mask.png").unlink()
    with pytest.raises(EnsError, match=r"1 of 6 files in .* have no mask, the first is 0003; add the mask"):
        opened(tmp_path)


def test_names_that_have_nothing_in_common_are_refused(tmp_path: Path) -> None:
    for n in range(3):
        picture(tmp_path / "images" / f"a{n}.png", n)
        write(tmp_path / "masks" / f"{n + 7}b.png", ids((0, 1), n))
    with pytest.raises(EnsError, match=r"common names, got images/a0\.png and masks/7b\.png; give a mask the name"):
        opened(tmp_path)


def test_two_data_sets_are_not_mixed(tmp_path: Path) -> None:
    for name in ("mars", "moon"):
        pairs_of(f"{name}/images/{{}}.png", f"{name}/masks/{{}}.png")(tmp_path)
    with pytest.raises(EnsError, match=r"expected one data set in .*, got 2: mars/, moon/; give the path of one"):
        recognise(tmp_path)


def test_images_alone_are_not_known(tmp_path: Path) -> None:
    for n in range(4):
        picture(tmp_path / "images" / f"{n}.jpg", n)
        picture(tmp_path / "photos" / f"photo {n}.png", n)
    assert describe(tmp_path) is None


def test_one_pair_is_enough(tmp_path: Path) -> None:
    pairs_of("images/{}.png", "masks/{}_mask.png", count=1)(tmp_path)
    assert patterns(tmp_path) == ("images/{id}.*", "masks/{id}_mask.*")


@pytest.mark.data
@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are absent")
@pytest.mark.parametrize("case", ["11_name_mask", "12_name_L", "39_split_folders", "A2_image_label"])
def test_the_real_cases_are_read(case: str) -> None:
    data = opened(CASES / case / "data")
    assert len(data.ids) == 12
    assert (data.bands, data.one_size) == (1, (64, 96))
    assert (data.parts is not None) is (case == "39_split_folders")
