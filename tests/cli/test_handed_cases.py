"""The small inputs of ``../shared/cases``, each with its command and what should happen; they stand for kinds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

CASES = Path(__file__).parents[2].parent / "shared" / "cases"
pytestmark = [pytest.mark.data, pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is absent")]
Ens = Callable[..., Result]
SUMMARY = ("data", "summary")
TRAIN = ("train", "--arch", "unet-baseline(depth=2)", "--loss", "ce", "--epochs", "1", "--batch-size", "4")

# For each case: its data, whether the command succeeds, and expressions that must be in its output.
READ = {
    "02_exif6": ("data", True, "64x96, 3 band", "turned as their EXIF orientation says: 12 files"),
    "03_exif180": ("data", True, "turned as their EXIF orientation says: 12 files"),
    "05_mask0_255": ("data", True, "0 and 255 only: 255 is read as the class foreground", r"foreground +255 +12\.65"),
    "06_mask_sparse": ("data", True, "ids 0, 38, 75, with gaps", r"class 75 +75 +1\.74"),
    "07_mask_jpeg": ("data", False, "masks/0000.jpg is a JPEG with lossy compression, which changes ids"),
    "07b_mask_jpeg_ids": ("data", False, "masks/0000.jpg is a JPEG with lossy compression, which changes ids"),
    "08_mask_rgb": ("data", True, "masks hold 3 colours; each is a class", r"#800000 +2 +10\.91"),
    "11_name_mask": ("data", True, "12 labelled"),
    "12_name_L": ("data", True, "12 labelled"),
    "18_nfd": ("data", True, "12 labelled"),
    "20_nnunet": ("data", True, "12 labelled"),
    "22_nan_tiff": ("data", False, r"images/0004\.tif, got NaN or infinity at 480 of 6144 values"),
    "26_all_empty": ("data", False, "all pixels of all masks are 0, so there is nothing to learn"),
    "31_mixed_bands": ("data", True, "12 labelled", r"grey, read as colour images: 1 file \(images/0007\.png\)"),
    "37_bmp_mixed": ("data", True, "12 labelled"),
    "39_split_folders": ("data", True, "labelled"),
    "41_classes_cp1252": ("data", True, "12 labelled"),
    "44_groups_spaces": ("data", True, r"4 \(given\)"),
    "46_groups_intid": ("data", False, "no group for the image 0000, but one for 0: a spreadsheet drops leading zeros"),
    "47_groups_cp1252": ("data", True, r"4 \(given\)"),
    "48b_groups_tab": ("data", True, r"4 \(given\)"),
    "54_npz_nan": ("data.npz", False, "NaN or infinity .*image 5|image 5 .*NaN or infinity"),
    "68_npz_fortran": ("data.npz", True, "24 labelled, 5 unlabelled"),
    "73_ids_from_1": ("data", True, r"no labelled image holds the class 'class 0' \(id 0\)", "--background void"),
    "85_test_odd": ("data", True, "64x96", "test images .* left to `ens predict`"),
    "86_float_reflectance": ("data", True, "12 labelled", "64x96, 1 band"),
    "97_mask_alpha_cutout": ("data", True, "transparency of the masks says what is the object", "object"),
    "99_classes_numbered": ("data", True, r"\nbackground +0", r"\nnucleus +1", r"\noutline +2"),
    "A2_image_label": ("data", True, "12 labelled"),
    "A4_Images_Masks_capital": ("data", True, "12 labelled"),
    "B1_lzw_rgbnir": ("data", True, "4 band"),
}
TRAINED = {
    "23_nodata9999": ("data", True, r"-9999 have no data \(GDAL_NODATA\) and count as void: 12 files", "mIoU"),
    "24_one_image": ("data", False, "one image cannot be split into training and validation"),
    "48_groups_one": ("data", False, "all 12 images are in one group"),
    "73_ids_from_1": ("data", False, r"'class 0'.*ids from 1 on: set background to void"),
    "A5_black_images": ("data", False, r"all 12 images are in one group .*look alike"),
}


def check(ens: Ens, command: tuple[str, ...], case: tuple[str | bool, ...], folder: Path, *more: str | Path) -> None:
    data, succeeds, *expected = case
    result = ens(command[0], *([command[1]] if command == SUMMARY else []), folder / str(data), *more)
    text = result.output
    assert result.exit_code == (0 if succeeds else 2), text
    assert "Traceback" not in text
    flat = re.sub(r"[ \n]+", " ", text)
    for one in map(str, expected):
        assert re.search(one, text) or re.search(one, flat), (one, text)


@pytest.mark.parametrize("name", READ)
def test_read(ens: Ens, name: str) -> None:
    check(ens, SUMMARY, READ[name], CASES / name)


@pytest.mark.parametrize("name", TRAINED)
def test_trained(ens: Ens, name: str, tmp_path: Path) -> None:
    check(ens, TRAIN, TRAINED[name], CASES / name, *TRAIN[1:], "--out", tmp_path)


@pytest.fixture
def member(tiny_runs: Path) -> Path:
    """A member of grey images."""
    return min((tiny_runs / "members").iterdir())


def test_colours_are_predicted_in_grey(ens: Ens, member: Path, tmp_path: Path) -> None:
    result = ens("predict", member, CASES / "P2_predict_mixed", "--out", tmp_path / "masks")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {"a.png", "c_rgb.png", "d_rgba.png"}
    assert re.search(r"grey is made of their colours", result.output)
    for name in ("a", "c_rgb", "d_rgba"):
        with (
            Image.open(tmp_path / "masks" / f"{name}.png") as mask,
            Image.open(CASES / "P2_predict_mixed" / f"{name}.png") as image,
        ):
            assert np.asarray(mask).shape == np.asarray(image).shape[:2]


@pytest.mark.slow
@pytest.mark.parametrize("method", [("--method", "per-class"), ("--all-methods",)])  # with auto
def test_a_class_without_weights(ens: Ens, method: tuple[str, ...], tmp_path: Path) -> None:
    members = sorted((CASES / "R1_per_class_rare" / "runs" / "members").iterdir())
    if method == ("--all-methods",):  # they take minutes with all nine
        members = [member for member in members if member.name.startswith(("aimp", "pspnet", "unet"))]
    for member in members:
        (tmp_path / "members").mkdir(exist_ok=True)
        (tmp_path / "members" / member.name).symlink_to(member)
    picture = () if method == ("--all-methods",) else ("--no-picture",)
    result = ens("combine", *method, *picture, "--runs", tmp_path)
    assert result.exit_code == 0, result.output
    assert "nan" not in result.output.lower()
    assert "could not be fitted" not in result.output


def test_a_large_image_is_predicted_in_tiles(ens: Ens, member: Path, tmp_path: Path) -> None:
    result = ens("predict", member, CASES / "P1_big", "--out", tmp_path / "masks")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "masks" / "big.png") as mask, Image.open(CASES / "P1_big" / "big.png") as image:
        assert mask.size == image.size


def test_every_case_has_a_test() -> None:
    elsewhere = {"P1_big", "P2_predict_mixed", "R1_per_class_rare"}
    assert {path.name for path in CASES.iterdir() if path.is_dir()} == {*READ, *TRAINED} | elsewhere
