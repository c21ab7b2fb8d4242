"""Arrays of images and masks: names, axes, codings of masks, and what cannot be used, in one sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import open_dataset
from ensemble.data.describe import describe as write_description
from ensemble.data.formats.arrays import describe
from ensemble.data.formats.source import ArraySource
from ensemble.data.open_source import open_source

RANDOM = np.random.default_rng(3)
GREY = RANDOM.integers(0, 256, (6, 8, 10), dtype=np.uint8)
COLOURS = RANDOM.integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
IDS = RANDOM.integers(0, 3, (6, 8, 10), dtype=np.uint8)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path / "data.npz", **arrays)
    return path / "data.npz"


def opened(path: Path) -> ArraySource:
    source = open_source(str(path))
    assert isinstance(source, ArraySource)
    return source


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("X", "y"),
        ("x", "y"),
        ("images", "masks"),
        ("image", "mask"),
        ("imgs", "labels"),
        ("data", "target"),
        ("X_train", "y_train"),
        ("trainX", "trainY"),
        ("xtrain", "ytrain"),
        ("train_images", "train_masks"),
        ("imgs_train", "imgs_mask_train"),
        ("arr_0", "arr_1"),
    ],
)
def test_usual_names_are_known(images: str, masks: str, tmp_path: Path) -> None:
    source = opened(npz(tmp_path, **{images: GREY, masks: IDS}))
    assert np.array_equal(source.images(range(6))[..., 0], GREY)
    assert np.array_equal(source.masks(range(6)), IDS)
    assert source.default_background == "class"
    assert source.parts is None


@pytest.mark.parametrize("names", ["x_{}", "{}_images", "images_{}"])
def test_parts_have_their_arrays(names: str, tmp_path: Path) -> None:
    masks = {"x_{}": "y_{}", "{}_images": "{}_masks", "images_{}": "labels_{}"}[names]
    arrays = {}
    for number, part in enumerate(("train", "val", "test")):
        arrays |= {names.format(part): COLOURS[2 * number :][:2], masks.format(part): IDS[2 * number :][:2]}
    dataset = open_dataset(DataSettings(source=str(npz(tmp_path, **arrays))))
    assert dataset.ids == ("train-0", "train-1", "val-0", "val-1")
    assert dataset.parts == ("train", "train", "val", "val")
    assert np.array_equal(dataset.image(3), COLOURS[3])
    assert np.array_equal(dataset.test_image(1), COLOURS[5])
    assert dataset.has_test_labels
    assert np.array_equal(dataset.test_label(1), IDS[5])


def test_folders_of_npy_files_are_read(tmp_path: Path) -> None:
    for part, rows in (("train", slice(0, 4)), ("val", slice(4, 6))):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / "X.npy", COLOURS[rows])
        np.save(tmp_path / part / "y.npy", IDS[rows])
    source = opened(tmp_path)
    assert source.parts == ("train",) * 4 + ("val",) * 2
    assert np.array_equal(source.masks(range(6)), IDS)
    (tmp_path / "flat").mkdir()
    np.save(tmp_path / "flat" / "images.npy", GREY)
    np.save(tmp_path / "flat" / "masks.npy", IDS)
    assert np.array_equal(opened(tmp_path / "flat").masks([5]), IDS[5:])


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (GREY, IDS),
        (COLOURS, IDS),
        (COLOURS, IDS[..., None]),
        (COLOURS.transpose(0, 3, 1, 2), IDS),
        (COLOURS.transpose(0, 3, 1, 2), IDS[:, None]),
        (np.asfortranarray(COLOURS), IDS),
    ],
    ids=["nhw", "nhwc", "masks nhw1", "nchw", "both bands first", "fortran"],
)
def test_axes_are_found_by_the_sizes(images: Any, masks: Any, tmp_path: Path) -> None:
    source = opened(npz(tmp_path, X=images, y=masks))
    expected = GREY[..., None] if images is GREY else COLOURS
    assert np.array_equal(source.images(range(6)), expected)
    assert np.array_equal(source.masks(range(6)), IDS)


HOT = np.eye(3, dtype=np.uint8)[IDS]


@pytest.mark.parametrize(
    "masks",
    [
        IDS.astype(np.float32),
        IDS.astype(np.int64),
        HOT,
        HOT * 255,
        HOT.astype(bool),
        HOT.astype(np.float32),
        HOT.transpose(0, 3, 1, 2),
        np.repeat(IDS[..., None], 3, -1),
    ],
    ids=["float", "int64", "one-hot", "one-hot 255", "one-hot bool", "one-hot float", "one-hot first", "grey as RGB"],
)
def test_masks_may_be_coded_in_many_ways(masks: Any, tmp_path: Path) -> None:
    assert np.array_equal(opened(npz(tmp_path, X=GREY, y=masks)).masks(range(6)), IDS)


@pytest.mark.parametrize("first", [False, True], ids=["nhwc", "nchw"])
def test_images_and_masks_may_have_as_many_bands(first: bool, tmp_path: Path) -> None:
    """An axis of three can only be that of the bands: no image is three pixels high or wide."""
    images, masks = (array.transpose(0, 3, 1, 2) if first else array for array in (COLOURS, HOT))
    source = opened(npz(tmp_path, X=images, y=masks))
    assert np.array_equal(source.images(range(6)), COLOURS)
    assert np.array_equal(source.masks(range(6)), IDS)
    palette = np.array([[0, 0, 0], [255, 0, 0], [9, 200, 30]], np.uint8)[IDS]
    coloured = opened(npz(tmp_path, X=images, y=palette.transpose(0, 3, 1, 2) if first else palette))
    assert np.array_equal(coloured.masks(range(6)), np.array([0, 2, 1], np.uint8)[IDS])


def test_values_have_the_rules_of_files(tmp_path: Path) -> None:
    """0 and 255 are two classes, gaps are kept for predictions, 255 among others is void."""
    binary = open_dataset(DataSettings(source=str(npz(tmp_path, X=GREY, y=(IDS > 0) * 255.0))))
    assert (binary.classes, binary.values) == (("background", "foreground"), (0, 255))
    assert np.array_equal(binary.label(0), IDS[0] > 0)
    gaps = np.array([0, 7, 21, 255], np.uint8)[np.where(GREY < 9, 3, IDS)]
    dataset = open_dataset(DataSettings(source=str(npz(tmp_path, X=GREY, y=gaps))))
    assert dataset.values == (0, 7, 21)
    assert np.array_equal(dataset.label(2) == 255, gaps[2] == 255)
    logical = open_dataset(DataSettings(source=str(npz(tmp_path, X=GREY, y=IDS > 0))))
    assert logical.values == (0, 1)


def test_colours_become_classes(tmp_path: Path) -> None:
    palette = np.array([[0, 0, 0], [255, 0, 0], [9, 200, 30]], np.uint8)
    source = opened(npz(tmp_path, X=GREY, y=palette[IDS]))
    assert source.colours == ("#000000", "#09c81e", "#ff0000")
    assert np.array_equal(source.masks([1]), np.array([0, 2, 1], np.uint8)[IDS[1:2]])


def test_groups_ids_and_class_names_are_read(tmp_path: Path) -> None:
    names = np.array(["sky", "sea", "land"])
    extra = {"groups": np.arange(6) // 2, "ids": np.array(list("abcdef")), "classes": names, "weights": np.ones(3)}
    source = opened(npz(tmp_path, images=GREY, masks=IDS, **extra))
    assert source.groups == tuple("001122")
    assert source.ids == tuple("abcdef")
    assert source.names == {0: "sky", 1: "sea", 2: "land"}
    assert "left out of data.npz, because nothing names them: weights" in source.notes


def test_a_written_description_gives_the_same_data(tmp_path: Path) -> None:
    path = npz(tmp_path, x_train=GREY[:4], y_train=IDS[:4] * 9, x_test=GREY[4:], groups=np.arange(4))
    described = write_description(path, tmp_path / "data.toml")
    assert described.format == "arrays"
    assert 'root = "data.npz"' in described.toml
    one, other = opened(path), opened(tmp_path / "data.toml")
    assert one.fingerprint == other.fingerprint
    assert one.written == other.written == {0: 0, 1: 9, 2: 18}
    assert one.groups == other.groups
    assert len(other.test_ids) == 2


def test_a_description_may_name_any_arrays(tmp_path: Path) -> None:
    npz(tmp_path, a=COLOURS, b=np.stack([GREY, IDS], -1))
    toml = 'root = "data.npz"\nchannel = 2\nbands = [3, 1]\ngroup_pattern = "(.)"\n[train]\nimages = "a"\nmasks = "b"\n'
    (tmp_path / "data.toml").write_text(toml)
    source = opened(tmp_path / "data.toml")
    assert np.array_equal(source.images(range(6)), COLOURS[..., [2, 0]])
    assert np.array_equal(source.masks(range(6)), IDS)
    assert source.groups == tuple("012345")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "names": ({"a": GREY, "b": IDS}, "such as X and y, found a (6, 8, 10), b (6, 8, 10)"),
    "two names": ({"X": GREY, "x_train": GREY, "y": IDS}, "'X' and 'x_train' of"),
    "numbers": ({"X": GREY[:5], "y": IDS}, "5 images in 'X' of"),
    "sizes": ({"X": GREY[:, :5], "y": IDS}, "expected images and masks of one size, got (6, 5, 10)"),
    "no stack": ({"X": GREY.ravel(), "y": IDS}, "as a stack of images (N, H, W) or (N, H, W, C), got (480,)"),
    "doubt": ({"X": np.zeros((6, 8, 8, 8)), "y": IDS[:, :, :8]}, "before or after height and width"),
    "fractions": ({"X": GREY, "y": IDS / 3}, "expected whole numbers from 0 to 65535 in 'y' of"),
    "negative": ({"X": GREY, "y": IDS - 1.0}, "got values such as -1.0"),
    "not finite": ({"X": np.where(GREY < 3, np.nan, GREY), "y": IDS}, "NaN or infinity"),
    "several bands": ({"X": GREY, "y": np.stack([IDS, IDS], -1)}, "one-hot"),
    "no class": ({"X": GREY, "y": HOT * (GREY > 9)[..., None]}, "one-hot"),
    "texts": ({"X": GREY, "y": IDS.astype("U3")}, "expected numbers as masks in 'y'"),
    "groups": ({"X": GREY, "y": IDS, "groups": np.arange(5)}, "expected 6 groups in 'groups'"),
    "ids": ({"X": GREY, "y": IDS, "ids": np.zeros(6)}, "a different id for each of the 6 images"),
    "test sizes": ({"X": GREY, "y": IDS, "x_test": GREY[:, :4]}, "as images of 8x10 like those"),
    "val sizes": (
        {"X": GREY, "y": IDS, "x_val": GREY[:, 1:], "y_val": IDS[:, 1:]},
        "of the training images (8x10)",
    ),
}


@pytest.mark.parametrize(("arrays", "text"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_used_is_named(arrays: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=re.escape(text)) as error:
        open_source(str(npz(tmp_path, **arrays)))
    assert "data.npz" in str(error.value)


def test_arrays_that_need_more_memory_than_is_free_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = npz(tmp_path, X=np.zeros((9, 100, 100), np.uint8), y=np.zeros((9, 100, 100), np.uint8))
    monkeypatch.setattr("ensemble.core.reading.free_lately", lambda: 1 << 18)
    with pytest.raises(EnsError, match=r"needs .* GB of memory"):
        open_source(str(path))


def test_a_folder_with_a_file_per_image_is_another_format(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for row in range(2):
        np.save(tmp_path / "images" / f"{row}.npy", GREY[row])
    assert describe(tmp_path) is None
