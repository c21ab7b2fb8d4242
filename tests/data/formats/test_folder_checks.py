"""Images of a folder fit together, and what is left out or changed is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.core.errors import EnsError
from ensemble.data.formats.folder_checks import check_bands, check_sizes, check_types, notes_of
from ensemble.data.formats.header import Header


def headers(*kinds: tuple[int, str]) -> dict[Path, Header]:
    return {Path(f"images/{n}.png"): Header("PNG", 4, 6, bands, dtype) for n, (bands, dtype) in enumerate(kinds)}


def test_a_few_grey_images_become_colour_images() -> None:
    images = headers((3, "uint8"), (1, "uint8"), (3, "uint8"))
    assert check_bands(images) == 3
    assert notes_of([], images, images) == ("grey, read as colour images: 1 file (images/1.png)",)
    assert check_bands(headers((1, "uint8"))) == 1


@pytest.mark.parametrize("bands", [(3, 1), (3, 3, 4), (1, 1, 3)])
def test_other_mixtures_of_bands_are_counted(bands: tuple[int, ...]) -> None:
    with pytest.raises(
        EnsError, match=r"expected images of equal bands, got .* in [12] of [23] images but .* in 1, the"
    ):
        check_bands(headers(*((count, "uint8") for count in bands)))


def test_floats_may_differ_in_length_but_bytes_are_bytes() -> None:
    check_types(headers((1, "float32"), (1, "float64"), (1, "int16")))
    with pytest.raises(EnsError, match=r"got uint8 in 2 of 3 images but float32 in 1, the first is images/1\.png"):
        check_types(headers((1, "uint8"), (1, "float32"), (1, "uint8")))


def test_a_pair_of_different_sizes_says_what_was_turned() -> None:
    image, mask = Header("JPEG", 4, 6, 3, "uint8", 6), Header("PNG", 6, 4, 1, "uint8")
    paths = {"a": Path("a.jpg")}, {"a": Path("a.png")}
    text = r"image a is 4x6 but its mask is 6x4 \(the image is turned by its EXIF orientation 6\); expected equal sizes"
    with pytest.raises(EnsError, match=text):
        check_sizes(*paths, {}, {Path("a.jpg"): image, Path("a.png"): mask}, None)


def test_files_that_are_left_out_are_counted_and_named(tmp_path: Path) -> None:
    for name in ("0.png", "1.gif", "2.gif", "3.txt", ".hidden.png", "more/"):
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_bytes(b"")
    (note,) = notes_of([tmp_path, tmp_path / "absent"], {}, {})
    assert note.startswith(
        f"left out of {tmp_path.name}/, because only .png, .jpg, .jpeg, .tif, .tiff, .bmp, .webp are"
    )
    assert note.endswith("read: 5 (.hidden.png, 1.gif, 2.gif, ...)")


def test_turned_images_and_missing_data_are_said() -> None:
    image = Header("TIFF", 4, 6, 1, "float32", 3, no_data=-9999.0)
    found = {Path("images/a.tif"): image}
    assert notes_of([], found, found) == (
        "turned as their EXIF orientation says: 1 file (images/a.tif)",
        "pixels of -9999 have no data (GDAL_NODATA) and count as void: 1 file (images/a.tif)",
    )
