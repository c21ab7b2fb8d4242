"""Some rows of a TIFF are those of the whole picture, whatever its layout, and no other strips are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from ensemble.core.errors import EnsError
from ensemble.data.formats import gdal, tiff
from ensemble.data.formats.image_files import image_header, read_image, read_rows

NOISE = np.random.default_rng(5)
GREY = NOISE.integers(0, 256, (133, 90), dtype=np.uint8)
COLOURS = NOISE.integers(0, 256, (133, 90, 3), dtype=np.uint8)
BANDS = NOISE.integers(0, 60_000, (6, 133, 90)).astype(np.uint16)
RGB: dict[str, Any] = {"photometric": "rgb"}
SEPARATE: dict[str, Any] = {"planarconfig": "separate", "photometric": "minisblack"}
LAYOUTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "one piece": (COLOURS, RGB),
    "one piece, big-endian": (BANDS, SEPARATE | {"byteorder": ">"}),
    "one piece, big file": (GREY, {"bigtiff": True}),
    "pages": (BANDS, {"photometric": "minisblack"}),
    "strips": (COLOURS, RGB | {"compression": "zlib", "rowsperstrip": 16}),
    "strips of bands": (BANDS, SEPARATE | {"compression": "zlib", "rowsperstrip": 10, "predictor": True}),
    "pages of strips": (BANDS, {"photometric": "minisblack", "compression": "zlib", "rowsperstrip": 7}),
    "tiles": (COLOURS, RGB | {"tile": (32, 48), "compression": "zlib"}),
    "tiles, stored": (GREY, {"tile": (16, 16)}),
    "tiles of bands": (BANDS, SEPARATE | {"tile": (48, 32), "compression": "zlib", "byteorder": ">"}),
    "fractions": (GREY.astype(np.float32) / 7, {"compression": "zlib", "rowsperstrip": 16}),
    "0 is white": (GREY, {"photometric": "miniswhite", "rowsperstrip": 16, "compression": "zlib"}),
    "one bit": (GREY > 99, {"rowsperstrip": 16}),
}


def check(path: Path) -> None:
    whole = read_image(path)
    assert image_header(path).height == len(whole)
    for first, end in ((0, 1), (0, 133), (15, 17), (31, 80), (100, 133), (132, 133)):
        found = read_rows(path, first, end)
        assert found.dtype == whole.dtype
        np.testing.assert_array_equal(found, whole[first:end])


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_are_those_of_the_whole(tmp_path: Path, name: str) -> None:
    array, options = LAYOUTS[name]
    tifffile.imwrite(tmp_path / "image.tif", array, **options)
    check(tmp_path / "image.tif")


def test_a_palette(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY)
    picture.putpalette(NOISE.integers(0, 256, 768, dtype=np.uint8).tolist())
    picture.save(tmp_path / "image.tif")
    check(tmp_path / "image.tif")


@pytest.mark.parametrize("with_rasterio", [True, False])
@pytest.mark.parametrize("options", [{"compress": "lzw"}, {"compress": "lzw", "tiled": True, "blockxsize": 32}])
def test_a_compression_that_only_gdal_reads_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], with_rasterio: bool
) -> None:
    shape: dict[str, Any] = {"count": 1, "height": 133, "width": 90, "dtype": "uint8"}
    tiled: dict[str, Any] = {"blockysize": 16} if "tiled" in options else {}
    with pytest.warns(NotGeoreferencedWarning):
        target = rasterio.open(tmp_path / "image.tif", "w", driver="GTiff", **shape, **options, **tiled)
    with target:
        target.write(GREY, 1)
    whole: list[Any] = []
    decoded = getattr(tiff, "_decoded")  # noqa: B009
    monkeypatch.setattr(tiff, "_decoded", lambda *given: (whole.append(given), decoded(*given))[1])
    if not with_rasterio:
        monkeypatch.setattr(gdal, "rasterio", lambda: None)
    np.testing.assert_array_equal(read_rows(tmp_path / "image.tif", 20, 50)[..., 0], GREY[20:50])
    assert bool(whole) is not with_rasterio


@pytest.mark.parametrize("name", ["one piece", "strips", "tiles, stored"])
def test_a_file_cut_short_is_one_sentence(tmp_path: Path, name: str) -> None:
    array, options = LAYOUTS[name]
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, array, **options)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(EnsError, match=r"image\.tif cannot be read as an image \(.*\); write it again as PNG"):
        read_rows(path, 0, 133)


def test_only_the_wanted_strips_are_read(tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, COLOURS, photometric="rgb", compression="zlib", rowsperstrip=16)
    with tifffile.TiffFile(path) as file:
        offsets = file.pages.first.dataoffsets
    content = bytearray(path.read_bytes())
    content[offsets[3] : offsets[4]] = bytes(offsets[4] - offsets[3])  # rows 48 to 63 are damaged
    path.write_bytes(content)
    np.testing.assert_array_equal(read_rows(path, 0, 48), COLOURS[:48])
    np.testing.assert_array_equal(read_rows(path, 64, 133), COLOURS[64:])
    with pytest.raises(EnsError, match="cannot be read as an image"):
        read_rows(path, 40, 50)
