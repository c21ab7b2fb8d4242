"""TIFF: all bands of any type whatever the compression, turned as viewers turn it, missing data marked."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from ensemble.core.errors import EnsError
from ensemble.data.formats import gdal
from ensemble.data.formats.header import turned
from ensemble.data.formats.image_files import image_header, read_image, read_mask, read_no_data

RANDOM = np.random.default_rng(0)
FOUR = RANDOM.integers(0, 65536, (36, 40, 4), dtype=np.uint16)
GREY = RANDOM.integers(0, 256, (36, 40), dtype=np.uint8)
HEIGHTS = RANDOM.normal(100, 20, (36, 40)).astype(np.float32)
NO_DATA = 42113


def write(path: Path, array: NDArray[Any], no_data: str | None = None, **options: Any) -> Path:
    """Write a TIFF; ``no_data`` is what GDAL writes into its tag."""
    tags = [] if no_data is None else [(NO_DATA, "s", 0, no_data, True)]
    tifffile.imwrite(path, array, extratags=tags, **options)
    return path


# ---------------------------------------------------------------- LZW


@pytest.mark.parametrize("bands", [3, 4])
def test_lzw_of_sixteen_bits_keeps_all_bands(tmp_path: Path, bands: int) -> None:
    cv2.imwrite(str(tmp_path / "a.tif"), FOUR[..., [2, 1, 0, 3][:bands]])  # OpenCV writes LZW
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages.first.compression == 5
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), FOUR[..., :bands])
    assert image_header(tmp_path / "a.tif").bands == bands


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBX", "RGBA", "F", "I;16", "I"])
def test_lzw_gives_the_pixels_of_the_uncompressed_file(tmp_path: Path, mode: str) -> None:
    arrays: dict[str, Any] = {
        "1": GREY > 99,
        "F": HEIGHTS,
        "I;16": FOUR[..., 0],
        "I": FOUR[..., 0].astype(np.int32) - 9,
        "L": GREY,
    }
    colours = (FOUR >> 8).astype(np.uint8)
    array = arrays.get(mode, colours[..., : 3 if mode == "RGB" else 4])
    picture = Image.fromarray(array, mode) if mode in ("RGBX", "RGBA") else Image.fromarray(array)
    picture.save(tmp_path / "lzw.tif", compression="tiff_lzw")
    picture.save(tmp_path / "plain.tif")
    plain = read_image(tmp_path / "plain.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "lzw.tif"), plain)
    np.testing.assert_array_equal(plain, array.reshape(36, 40, -1))
    assert read_image(tmp_path / "lzw.tif").dtype == plain.dtype


def test_a_codec_that_cannot_be_read_in_full_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gdal, "rasterio", lambda: None)
    path = write(tmp_path / "a.tif", np.dstack([GREY] * 6), photometric="minisblack", planarconfig="contig")
    with tifffile.TiffFile(path, mode="r+") as file:  # claim LZW for six bands
        file.pages.first.tags["Compression"].overwrite(5)
    with pytest.raises(
        EnsError, match=r"a\.tif is compressed with LZW, and its 6 band\(s\) of uint8 cannot be read in"
    ):
        read_image(path)


# ---------------------------------------------------------------- kinds of pixels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64", "bool"])
@pytest.mark.parametrize(
    "options", [{}, {"tile": (16, 16)}, {"compression": "zlib", "predictor": True}, {"bigtiff": True}]
)
def test_every_type_is_read_as_it_is(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    if dtype in ("bool", "float32", "float64") and "predictor" in options:
        pytest.skip("tifffile writes no such predictor without imagecodecs")
    array = (GREY / 3).astype(dtype)
    path = write(tmp_path / "a.tif", array, **({"photometric": "minisblack"} | options))
    np.testing.assert_array_equal(read_image(path)[..., 0], array)
    assert read_image(path).dtype == array.dtype
    header = image_header(path)
    assert (header.height, header.width, header.bands, header.dtype) == (36, 40, 1, dtype)


def test_the_colours_of_a_palette_are_looked_up_in_images_only(tmp_path: Path) -> None:
    table = RANDOM.integers(0, 256, (3, 256), dtype=np.uint16) * 257
    path = write(tmp_path / "a.tif", GREY, photometric="palette", colormap=table)
    np.testing.assert_array_equal(read_image(path), (table >> 8).astype(np.uint8).T[GREY])
    np.testing.assert_array_equal(read_mask(path), GREY)
    assert (image_header(path).bands, image_header(path).dtype) == (3, "uint8")


def test_white_is_white_where_zero_means_white(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GREY, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(path)[..., 0], 255 - GREY)
    np.testing.assert_array_equal(read_mask(path), GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiffs_are_turned_as_viewers_turn_them(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, extratags=[(274, "H", 1, orientation, True)])
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(path), read_image(tmp_path / "a.png"))
    np.testing.assert_array_equal(read_mask(path), turned(GREY, orientation))
    assert (image_header(path).height, image_header(path).width) == turned(GREY, orientation).shape


def test_a_mask_with_jpeg_inside_is_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "m.tif", compression="jpeg")
    assert read_image(tmp_path / "m.tif").shape == (36, 40, 1)
    with pytest.raises(EnsError, match=r"the mask .*m\.tif is a TIFF with lossy compression"):
        read_mask(tmp_path / "m.tif")


# ---------------------------------------------------------------- missing data


@pytest.mark.parametrize(
    ("tag", "mark"), [("-9999", -9999.0), ("nan", np.nan), ("-3.4028234663852886e+38", np.finfo("f4").min)]
)
def test_pixels_without_data_get_the_mean_of_the_others(tmp_path: Path, tag: str, mark: float) -> None:
    array = HEIGHTS.copy()
    array[:5, :7] = mark
    path = write(tmp_path / "a.tif", array, tag)
    absent = np.zeros((36, 40), bool)
    absent[:5, :7] = True
    np.testing.assert_array_equal(read_no_data(path), absent)
    image = read_image(path)[..., 0]
    np.testing.assert_array_equal(image[~absent], HEIGHTS[~absent])
    np.testing.assert_allclose(image[absent], HEIGHTS[~absent].mean(dtype=np.float64), rtol=1e-6)


def test_missing_data_of_a_compressed_file_are_marked_too(tmp_path: Path) -> None:
    array = HEIGHTS.copy()
    array[:5, :7] = -9999
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[NO_DATA] = "-9999"
    Image.fromarray(array).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo=tags)
    assert read_no_data(tmp_path / "a.tif").sum() == 35
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[5:, :, 0], HEIGHTS[5:])


def test_a_pixel_has_no_data_only_if_no_band_has(tmp_path: Path) -> None:
    array = FOUR | 1
    array[0, 0], array[0, 1, :3] = 0, 0
    path = write(tmp_path / "a.tif", array, "0", photometric="rgb", extrasamples=[0])
    assert np.argwhere(read_no_data(path)).tolist() == [[0, 0]]
    assert read_image(path)[0, 1].tolist() == [0, 0, 0, array[0, 1, 3]]


@pytest.mark.parametrize("tag", [None, "something", "7"])
def test_a_mark_that_the_file_does_not_name_is_refused(tmp_path: Path, tag: str | None) -> None:
    array = HEIGHTS.copy()
    array[3] = -9999
    path = write(tmp_path / "a.tif", array, tag)
    with pytest.raises(EnsError, match=r"a\.tif holds 40 values of -9999, .* into the TIFF tag GDAL_NODATA"):
        read_image(path)


def test_nan_is_refused_with_the_name_of_its_file(tmp_path: Path) -> None:
    array = HEIGHTS.copy()
    array[3:5] = np.nan
    with pytest.raises(EnsError, match=r"pixels in .*a\.tif, got NaN or infinity at 80 of 1440 values; fill them or"):
        read_image(write(tmp_path / "a.tif", array))


def test_an_image_without_any_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"a\.tif has no pixel with data \(all are -9999\); leave this image out"):
        read_image(write(tmp_path / "a.tif", np.full((4, 4), -9999, np.float32), "-9999"))


# ---------------------------------------------------------------- damage and forged sizes


def test_several_pictures_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY)
        file.write(GREY[:9])
    with pytest.raises(EnsError, match=r"expected one picture in .*a\.tif, got 2; write one picture into each file"):
        image_header(tmp_path / "a.tif")


@pytest.mark.parametrize(("tag", "value"), [("ImageLength", 60_000), ("ImageWidth", 4_000_000), ("RowsPerStrip", 3)])
def test_a_size_that_the_file_cannot_hold_is_refused(tmp_path: Path, tag: str, value: int) -> None:
    path = write(tmp_path / "a.tif", GREY)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags[tag].overwrite(value)
    with pytest.raises(EnsError, match=r"a\.tif"):
        read_image(path)


def test_opencv_is_silent_until_the_last_thread_has_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "a.tif"), FOUR)
    logging, decode = cv2.utils.logging, cv2.imdecode
    before, levels = logging.getLogLevel(), list[int]()
    first = threading.Thread(target=read_image, args=(tmp_path / "a.tif",))
    first_inside, second_inside = threading.Event(), threading.Event()

    def decode_at_once(*given: Any) -> Any:
        if threading.current_thread() is first:
            first_inside.set()
            second_inside.wait(20)
        else:
            second_inside.set()
            first.join(20)
        levels.append(logging.getLogLevel())
        return decode(*given)

    monkeypatch.setattr(cv2, "imdecode", decode_at_once)
    first.start()
    first_inside.wait(20)
    read_image(tmp_path / "a.tif")
    assert levels == [logging.LOG_LEVEL_SILENT] * 2
    assert logging.getLogLevel() == before
