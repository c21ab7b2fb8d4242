"""Images of a folder fit together, and what is left out or changed is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.core.errors import EnsError
from ensemble.data.formats.file_checks import check_bands, check_sizes, check_types, notes_of
from ensemble.data.formats.header import Header
from ensemble.data.formats.part_samples import Sample


def headers(*kinds: tuple[int, str]) -> dict[Path, Header]:
    return {Path(f"images/{n}.png"): Header("PNG", 4, 6, bands, dtype) for n, (bands, dtype) in enumerate(kinds)}


def bands_of(found: dict[Path, Header]) -> dict[tuple[Path, ...], int]:
    return {(path,): header.bands for path, header in found.items()}


def test_a_few_grey_images_become_colour_images() -> None:
    images = headers((3, "uint8"), (1, "uint8"), (3, "uint8"))
    assert check_bands(bands_of(images)) == 3
    assert notes_of(images, images) == ("grey, read as colour images: 1 file (images/1.png)",)
    assert check_bands(bands_of(headers((1, "uint8")))) == 1


@pytest.mark.parametrize("bands", [(3, 1), (3, 3, 4), (1, 1, 3)])
def test_other_mixtures_of_bands_are_counted(bands: tuple[int, ...]) -> None:
    with pytest.raises(
        EnsError, match=r"expected images of equal bands, got .* in [12] of [23] images but .* in 1, the"
    ):
        check_bands(bands_of(headers(*((count, "uint8") for count in bands))))


def test_floats_may_differ_in_length_but_bytes_are_bytes() -> None:
    check_types(headers((1, "float32"), (1, "float64"), (1, "int16")))
    with pytest.raises(EnsError, match=r"got uint8 in 2 of 3 images but float32 in 1, the first is images/1\.png"):
        check_types(headers((1, "uint8"), (1, "float32"), (1, "uint8")))


def test_a_pair_of_different_sizes_says_what_was_turned() -> None:
    image, mask = Header("JPEG", 4, 6, 3, "uint8", 6), Header("PNG", 6, 4, 1, "uint8")
    sample = Sample("a", "a", (Path("a.jpg"),), (Path("a.png"),), "train")
    text = r"image a is 4x6 but its mask is 6x4 \(the image is turned by its EXIF orientation 6\); expected equal sizes"
    with pytest.raises(EnsError, match=text):
        check_sizes([sample], {Path("a.jpg"): image, Path("a.png"): mask})


def test_turned_images_and_missing_data_are_said() -> None:
    image = Header("TIFF", 4, 6, 1, "float32", 3, no_data=-9999.0)
    found = {Path("images/a.tif"): image}
    assert notes_of(found, found) == (
        "turned as their EXIF orientation says: 1 file (images/a.tif)",
        "pixels of -9999 have no data (GDAL_NODATA) and count as void: 1 file (images/a.tif)",
    )
