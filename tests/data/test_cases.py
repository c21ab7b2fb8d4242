"""Inputs that were misread in silence, drawn here; the real ones lie in ``shared/cases`` and are tests marked ``data``.

Each case has the name of its folder there, which also holds the sentence that says what should happen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import Dataset, open_dataset

REAL = Path(__file__).resolve().parents[3] / "shared" / "cases"
HEIGHT, WIDTH, COUNT = 24, 32, 6
Draw = Callable[[Path], None]


def scene(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an image and a mask with the ids 0, 1 and 2."""
    random = np.random.default_rng(number)
    return random.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8), random.integers(0, 3, (HEIGHT, WIDTH), np.uint8)


def colour(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def draw(root: Path, image: Callable[[int, Path], None], mask: Callable[[int, Path], None] | None = None) -> None:
    """Write six pairs; the functions get the number and the path without its ending."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for number in range(COUNT):
        image(number, root / "images" / f"{number:04d}")
        write = mask or (lambda n, path: Image.fromarray(scene(n)[1]).save(f"{path}.png"))
        write(number, root / "masks" / f"{number:04d}")


def grey(number: int, path: Path) -> None:
    Image.fromarray(scene(number)[0]).save(f"{path}.png")


def turned_by(orientation: int) -> Draw:
    exif = Image.Exif()
    exif[0x0112] = orientation

    def image(number: int, path: Path) -> None:
        upright = Image.fromarray(colour(number))
        stored = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}[orientation]
        upright.transpose(stored).save(f"{path}.jpg", exif=exif, quality=95)

    return lambda root: draw(root, image)


def floats(values: Callable[[NDArray[np.float32], int], None], scale: float = 1.4) -> Draw:
    def image(number: int, path: Path) -> None:
        array = (scene(number)[0] / np.float32(255) * np.float32(scale)).astype(np.float32)
        values(array, number)
        tifffile.imwrite(f"{path}.tif", array)

    return lambda root: draw(root, image)


def jpeg_masks(root: Path) -> None:
    draw(root, grey, lambda number, path: Image.fromarray(scene(number)[1]).save(f"{path}.jpg"))


def mixed_bands(root: Path) -> None:
    draw(root, lambda n, path: Image.fromarray(colour(n) if n != 3 else scene(n)[0]).save(f"{path}.png"))


def bitmaps(root: Path) -> None:
    draw(root, lambda n, path: Image.fromarray(scene(n)[0]).save(f"{path}.{'bmp' if n in (1, 2) else 'png'}"))
    (root / "images" / "notes.txt").write_text("x")
    (root / "masks" / "masks.bak").write_bytes(b"x")


def near_infrared(root: Path) -> None:
    def image(number: int, path: Path) -> None:
        bands = np.random.default_rng(number).integers(0, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
        cv2.imwrite(f"{path}.tif", bands[..., [2, 1, 0, 3]])  # OpenCV writes LZW

    draw(root, image)


def with_classes(root: Path) -> None:
    draw(root, grey)
    (root / "classes.txt").write_bytes("background\r\nZellkern\r\nUmriß\r\n".encode("cp1252"))


def with_groups(root: Path) -> None:
    draw(root, grey)
    rows = "".join(f"{number:04d},Düne {number // 2}\r\n" for number in range(COUNT))
    (root / "groups.csv").write_bytes(f"id,group\r\n{rows}".encode("cp1252"))


def no_data(array: NDArray[np.float32], number: int) -> None:
    array[:3, :5] = -9999


def marked_no_data(root: Path) -> None:
    def image(number: int, path: Path) -> None:
        array = (scene(number)[0] / np.float32(99)).astype(np.float32)
        array[:3, :5] = -9999
        tifffile.imwrite(f"{path}.tif", array, extratags=[(42113, "s", 0, "-9999", True)])

    draw(root, image)


def nan_rows(array: NDArray[np.float32], number: int) -> None:
    if number == 4:
        array[2:7] = np.nan


def above_one(array: NDArray[np.float32], number: int) -> None:
    array *= np.float32(0.4 if number % 2 else 0.95)


def npz(change: Callable[[dict[str, Any]], None]) -> Draw:
    def write(root: Path) -> None:
        arrays: dict[str, Any] = {"training_set": np.stack([np.stack(scene(n)) for n in range(COUNT)])}
        change(arrays)
        root.mkdir()
        np.savez(root / "data.npz", **arrays)

    return write


def row_of_nan(arrays: dict[str, Any]) -> None:
    arrays["training_set"] = arrays["training_set"].astype(np.float32)
    arrays["training_set"][5, 0] = np.nan


def columns_first(arrays: dict[str, Any]) -> None:
    arrays["training_set"] = np.asfortranarray(arrays["training_set"])


def opened(root: Path) -> Dataset:
    """Open a case as `ens train` does before its first step."""
    source = root / "data.npz" if (root / "data.npz").is_file() else root / "data" if (root / "data").is_dir() else root
    dataset = open_dataset(DataSettings(source=str(source)))
    dataset.check_images()
    return dataset


REFUSED: dict[str, tuple[Draw, str]] = {
    "07_mask_jpeg": (jpeg_masks, r"the mask .*0000\.jpg is a JPEG with lossy compression, which changes ids"),
    "07b_mask_jpeg_ids": (jpeg_masks, r"the mask .*0000\.jpg is a JPEG with lossy compression, which changes ids"),
    "22_nan_tiff": (floats(nan_rows), r"pixels in .*images.0004\.tif, got NaN or infinity at \d+ of \d+ values"),
    "54_npz_nan": (npz(row_of_nan), r"pixels in image 5 of training_set of data\.npz, got NaN"),
}
READ: dict[str, tuple[Draw, int]] = {  # with the number of bands
    "02_exif6": (turned_by(6), 3),
    "03_exif180": (turned_by(3), 3),
    "23_nodata9999": (marked_no_data, 1),
    "31_mixed_bands": (mixed_bands, 3),
    "37_bmp_mixed": (bitmaps, 1),
    "41_classes_cp1252": (with_classes, 1),
    "47_groups_cp1252": (with_groups, 1),
    "68_npz_fortran": (npz(columns_first), 1),
    "86_float_reflectance": (floats(above_one), 1),
    "B1_lzw_rgbnir": (near_infrared, 4),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trusted_is_refused_by_name(case: str, tmp_path: Path) -> None:
    write, text = REFUSED[case]
    write(tmp_path / "case")
    with pytest.raises(EnsError, match=text):
        opened(tmp_path / "case")


@pytest.mark.parametrize("case", READ)
def test_what_was_misread_is_read(case: str, tmp_path: Path) -> None:
    write, bands = READ[case]
    write(tmp_path / "case")
    dataset = opened(tmp_path / "case")
    assert len(dataset.ids) == COUNT
    assert (dataset.bands, dataset.one_size) == (bands, (HEIGHT, WIDTH))


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_dir(), reason="the shared cases are absent")
@pytest.mark.parametrize("case", [*REFUSED, *READ])
def test_the_real_cases_do_the_same(case: str) -> None:
    if case in REFUSED:
        with pytest.raises(EnsError, match=REFUSED[case][1]):
            opened(REAL / case)
        return
    found = opened(REAL / case)
    assert (found.bands, found.one_size) == (READ[case][1], (64, 96))


# ---------------------------------------------------------------- the right values


@pytest.mark.parametrize("orientation", [3, 6])
def test_an_image_lies_on_its_mask_as_a_viewer_shows_it(tmp_path: Path, orientation: int) -> None:
    turned_by(orientation)(tmp_path)
    dataset = opened(tmp_path)
    for row in range(COUNT):
        with Image.open(tmp_path / "images" / f"{row:04d}.jpg") as picture:
            np.testing.assert_array_equal(dataset.images([row])[0], np.asarray(ImageOps.exif_transpose(picture)))
        np.testing.assert_array_equal(dataset.labels([row])[0], scene(row)[1])
    assert dataset.notes[0].startswith("turned as their EXIF orientation says: 6 files (images/0000.jpg, ")


def test_turned_images_are_other_data_than_before(tmp_path: Path) -> None:
    hashes: set[str] = set()
    for orientation in (3, 6):
        turned_by(orientation)(tmp_path / str(orientation))
        hashes.add(opened(tmp_path / str(orientation)).data_hash)
    assert len(hashes) == 2


def test_pixels_without_data_are_void_and_do_not_set_the_scale(tmp_path: Path) -> None:
    marked_no_data(tmp_path)
    dataset = opened(tmp_path)
    assert dataset.source.span[0] >= 0
    labels = dataset.labels(range(COUNT))
    assert (labels[:, :3, :5] == 255).all()
    np.testing.assert_array_equal(labels[:, 3:], np.stack([scene(n)[1] for n in range(COUNT)])[:, 3:])
    assert dataset.images(range(COUNT)).min() >= 0


def test_a_mark_without_the_tag_is_refused(tmp_path: Path) -> None:
    floats(no_data)(tmp_path)
    with pytest.raises(EnsError, match=r"images.0000\.tif holds 15 values of -9999, which looks like a mark"):
        opened(tmp_path)


def test_reflectance_has_one_unit_for_the_whole_set(tmp_path: Path) -> None:
    floats(above_one)(tmp_path)
    dataset = opened(tmp_path)
    assert dataset.source.span == (0, 1)
    assert 1 < dataset.images(range(COUNT)).max() < 1.4


def test_columns_first_give_the_same_data(tmp_path: Path) -> None:
    npz(columns_first)(tmp_path / "a")
    npz(lambda _: None)(tmp_path / "b")
    one, other = opened(tmp_path / "a"), opened(tmp_path / "b")
    assert one.data_hash == other.data_hash
    np.testing.assert_array_equal(one.labels(range(COUNT)), other.labels(range(COUNT)))


def test_near_infrared_is_the_fourth_band(tmp_path: Path) -> None:
    near_infrared(tmp_path)
    expected = np.random.default_rng(2).integers(0, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
    np.testing.assert_allclose(opened(tmp_path).images([2])[0] * 65535, expected, atol=0.01)


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    bitmaps(tmp_path)
    notes = opened(tmp_path).notes
    assert [note.split(",")[0] for note in notes] == ["left out of images/", "left out of masks/"]
    assert [note.split(": ")[1] for note in notes] == ["1 (notes.txt)", "1 (masks.bak)"]


# ---------------------------------------------------------------- everything is found before the first step


def test_a_bad_test_image_is_found_before_training(tmp_path: Path) -> None:
    draw(tmp_path, grey)
    (tmp_path / "test").mkdir()
    Image.fromarray(scene(0)[0]).save(tmp_path / "test" / "a.jpg")
    content = (tmp_path / "test" / "a.jpg").read_bytes()
    (tmp_path / "test" / "a.jpg").write_bytes(content[:-200])
    with pytest.raises(EnsError, match=r"test.a\.jpg cannot be read as an image \(image file is truncated"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("classes", np.array(["soil", "sand", "soil"]), "'classes' of data.npz, but 'soil' occurs twice"),
        ("classes", np.array(["soil", "", "x"]), "entry 1 of 'classes' of data.npz, got ''"),
        ("classes", np.array([["a", "b"]]), r"'classes' of data\.npz as a list of names or numbers, got <U1 of shape"),
        ("classes", np.array([str(n) for n in range(300)]), "at most 255 class names in 'classes' of data.npz"),
        ("training_groups", np.array([1.0, np.nan, 1, 1, 2, 2]), "entry 1 of 'training_groups' of data.npz, got 'nan'"),
        ("test_set", np.full((2, HEIGHT, WIDTH), np.nan), "pixels in image 0 of test_set of data.npz, got NaN"),
        ("test_set", np.full((2, HEIGHT, WIDTH), 9, np.uint16), "units of the training images, 0 to 255, got uint16"),
    ],
)
def test_arrays_that_are_wrong_are_found_before_training(tmp_path: Path, key: str, value: Any, text: str) -> None:
    npz(lambda arrays: arrays.update({key: value}))(tmp_path / "a")
    with pytest.raises(EnsError, match=text):
        opened(tmp_path / "a")


def test_names_as_bytes_are_texts(tmp_path: Path) -> None:
    npz(lambda arrays: arrays.update(classes=np.char.encode(np.array(["a", "soil", "Düne"]), "utf-8")))(tmp_path / "a")
    assert opened(tmp_path / "a").classes == ("soil", "Düne")


# ---------------------------------------------------------------- sentences that lead on


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    for name in ("a/image", "a/label", "b/images/train", "b/images/val"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(EnsError, match="found no image, but image/, label/; pass the folder"):
        opened(tmp_path / "a")
    with pytest.raises(EnsError, match="found no image, but images/train/, images/val/; pass the folder"):
        opened(tmp_path / "b")


def test_masks_without_classes_say_so(tmp_path: Path) -> None:
    draw(tmp_path, grey, lambda n, path: Image.fromarray(np.zeros_like(scene(n)[1])).save(f"{path}.png"))
    with pytest.raises(EnsError, match="all pixels of all masks are 0, so there is nothing"):
        opened(tmp_path)


def test_colours_of_masks_are_classes(tmp_path: Path) -> None:
    table = np.array([[0, 0, 0], [200, 10, 10], [10, 200, 10]], np.uint8)
    draw(tmp_path, grey, lambda n, path: Image.fromarray(table[scene(n)[1]]).save(f"{path}.png"))
    data = opened(tmp_path)
    assert data.classes == ("#000000", "#0ac80a", "#c80a0a")
    np.testing.assert_array_equal(data.labels([0])[0], np.array([0, 2, 1])[scene(0)[1]])


def test_names_in_two_unicode_forms_are_pairs(tmp_path: Path) -> None:
    def mask(number: int, path: Path) -> None:
        Image.fromarray(scene(number)[1]).save(path.with_name(f"fu\u0308r_{number}.png"))  # as macOS writes it

    draw(tmp_path, lambda n, path: grey(n, path.with_name(f"für_{n}")), mask)
    assert opened(tmp_path).ids == tuple(f"für_{n}" for n in range(COUNT))
