"""Decode TIFF: all bands of any type, tiled or in strips, or a refusal."""

from __future__ import annotations

import io
import logging
import math
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from ensemble.core.errors import EnsError
from ensemble.data.formats.gdal import read_bands_first
from ensemble.data.formats.header import Header, check_size, shown_size
from ensemble.data.formats.tiff_rows import decode_rows

_ORIENTATION, _EXTRA_SAMPLES, _NO_DATA = 274, 338, 42113
_JPEG = (6, 7, 34892)
_JPEG_2000 = (33003, 33004, 33005, 34712)
_WEBP = 50001
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_PREMULTIPLIED = 1
_held = threading.local()


class _Collector(logging.Handler):
    """Collect what tifffile reports about damage: it goes on with what is left of the file."""

    def emit(self, record: logging.LogRecord) -> None:
        getattr(_held, "texts", []).append(record.getMessage())


logging.getLogger("tifffile").addHandler(_Collector(logging.ERROR))


def read_header(path: Path) -> Header:
    """Return what the head of a TIFF says; no pixel is read.

    Raises:
        EnsError: a size that is too large, several pictures, or a shape that is no image.
    """
    with _opened(path) as (series, page):
        height, width, bands = _sizes(series, path)
        check_size(height, width, series.nbytes, path)
        photometric = int(page.photometric)
        orientation = _orientation(page)
        height, width = shown_size(height, width, orientation)
        palette = photometric == _PALETTE
        return Header(
            "TIFF",
            height,
            width,
            3 if palette else bands,
            "uint8" if palette else np.dtype(series.dtype).name,
            orientation,
            int(page.compression) in (*_JPEG, *_JPEG_2000, _WEBP),
            _no_data(page),
            photometric == _WHITE_IS_ZERO,
        )


def read_pixels(path: Path, *, ids: bool, rows: tuple[int, int] | None = None) -> NDArray[Any]:
    """Return the pixels as they are stored, (h, w) or (h, w, c).

    Args:
        path: the file, whose header has been read.
        ids: return the numbers of a mask, such as the indices of a palette. Otherwise a palette becomes colours, and
            grey values of which 0 is white are turned around.
        rows: first row and row after the last one; None for all.
    """
    with _opened(path) as (series, page):
        array = _decoded(path, series, page) if rows is None else _decoded_rows(path, series, page, rows)
        if ids:
            return array
        if int(page.photometric) == _PALETTE:
            return _colours(page)[array]
        if int(page.photometric) == _WHITE_IS_ZERO:
            return ~array if array.dtype.kind in "bu" else array
        return array


def _decoded(path: Path, series: Any, page: Any) -> NDArray[Any]:
    """Return the pixels (h, w) or (h, w, c) by the first library that gives all of them."""
    try:
        return _bands_last(np.asarray(series.asarray()), series)
    except ImportError:  # a module of a newer Python
        pass
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    found = _other_codec(path, series, page)
    if found is not None:
        return _bands_last(found, series)
    height, width, bands = _sizes(series, path)
    read = read_bands_first(path, (bands, height, width), np.dtype(series.dtype))
    if read is None:
        raise EnsError(
            f"{path} is compressed with {page.compression.name}, and its {page.samplesperpixel} band(s) of {page.dtype}"
            " cannot be read in full without rasterio; install it (pip install 'ens-toolkit[geo]'), or write the file"
            " uncompressed or with deflate"
        )
    return np.moveaxis(read, 0, -1) if len(series.shape) == 3 else read[0]


def _decoded_rows(path: Path, series: Any, page: Any, rows: tuple[int, int]) -> NDArray[Any]:
    """Return some rows, by reading no others if tifffile or rasterio can decode them."""
    try:
        return _bands_last(decode_rows(series, *rows), series)
    except ImportError:  # a module of a newer Python
        pass
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    height, width, bands = _sizes(series, path)
    read = read_bands_first(path, (bands, height, width), np.dtype(series.dtype), rows)
    if read is None:
        return _decoded(path, series, page)[slice(*rows)]
    return np.moveaxis(read, 0, -1) if len(series.shape) == 3 else read[0]


@contextmanager
def _opened(path: Path) -> Generator[tuple[Any, Any]]:
    """Yield the only series of a TIFF and its first page."""
    _held.texts = texts = []
    with tifffile.TiffFile(path) as file:
        pictures = [series for series in file.series if not (series.keyframe.is_reduced or series.keyframe.is_mask)]
        if len(pictures) != 1:
            raise EnsError(f"expected one picture in {path}, got {len(pictures)}; write one picture into each file")
        series, page = pictures[0], pictures[0].keyframe
        for part in series.pages:
            if part is not None and len(part.dataoffsets) != math.prod(page.chunked):
                raise ValueError(f"it has {len(part.dataoffsets)} of {math.prod(page.chunked)} strips or tiles")
        yield series, page
    if texts:
        raise ValueError(texts[0].partition("\n")[0])


def _sizes(series: Any, path: Path) -> tuple[int, int, int]:
    """Return height, width and bands as stored."""
    shape = series.shape
    if len(shape) not in (2, 3):
        raise EnsError(f"expected a grey image (h, w) or bands (h, w, c) in {path}, got the shape {shape}")
    if len(shape) == 2:
        return shape[0], shape[1], 1
    height, width, bands = (shape[1], shape[2], shape[0]) if _bands_are_first(series) else shape
    if bands < 1:
        raise ValueError("it has no bands")
    return height, width, bands


def _bands_are_first(series: Any) -> bool:
    """Return whether the first of three axes is that of the bands.

    The file says so for bands within its pages. If bands are pages, there are fewer bands than pixels along a side.
    """
    if "S" in series.axes:
        return series.axes[0] == "S"
    return series.shape[0] < min(series.shape[1:])


def _bands_last(array: NDArray[Any], series: Any) -> NDArray[Any]:
    return np.moveaxis(array, 0, -1) if array.ndim == 3 and _bands_are_first(series) else array


def _orientation(page: Any) -> int:
    tag = page.tags.get(_ORIENTATION)
    value = 1 if tag is None else tag.value
    return int(value) if value in range(1, 9) else 1


def _no_data(page: Any) -> float | None:
    tag = page.tags.get(_NO_DATA)
    if tag is None:
        return None
    try:
        return float(str(tag.value).strip().strip("\0").replace(",", "."))
    except ValueError:
        return None


def _colours(page: Any) -> NDArray[np.uint8]:
    """Return the colours of a palette (n, 3); some writers give them 8 bits, not 16."""
    table = np.asarray(page.colormap)
    return (table >> 8 if table.max(initial=0) > 255 else table).astype(np.uint8).T


def _other_codec(path: Path, series: Any, page: Any) -> NDArray[Any] | None:
    """Decode what tifffile cannot without imagecodecs (LZW, JPEG ...), where another library gives the same numbers."""
    photometric, dtype = int(page.photometric), np.dtype(page.dtype)
    plain = _orientation(page) == 1 and int(page.planarconfig) == 1 and len(series.pages) == 1
    plain &= photometric in (_BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR)
    plain &= _PREMULTIPLIED not in [int(kind) for kind in page.extrasamples or ()]
    if not plain or int(page.compression) == _WEBP:  # of which Pillow prints that it cannot read it
        return None
    content = bytearray(path.read_bytes())
    if dtype.itemsize == 1 or page.samplesperpixel == 1:
        _keep_fourth_band(content, page)
        try:
            found = np.asarray(TiffImageFile(io.BytesIO(content)))
        except SyntaxError:  # Pillow has no mode for such bands
            return None
    elif dtype == np.uint16 and photometric == _RGB and page.samplesperpixel in (3, 4):
        found = _with_opencv(content)
    else:
        return None
    same = found.astype(dtype) if found.dtype.kind in "iu" and dtype.kind in "iu" else found
    if (
        found.shape != series.shape
        or same.dtype != dtype
        or not np.array_equal(same, found, equal_nan=found.dtype.kind == "f")
    ):
        return None
    return same


def _keep_fourth_band(content: bytearray, page: Any) -> None:
    """Call a fourth band without a meaning alpha; otherwise Pillow drops it."""
    tag = page.tags.get(_EXTRA_SAMPLES)
    if tag is not None and tuple(map(int, page.extrasamples)) == (0,):
        struct.pack_into(f"{page.parent.byteorder}H", content, tag.valueoffset, 2)


class _SilentOpenCV:
    """Silence OpenCV, whose level all threads share, as long as one of them is inside."""

    def __init__(self) -> None:
        self._lock, self._inside, self._level = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._level = cv2.utils.logging.getLogLevel()
                cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                cv2.utils.logging.setLogLevel(self._level)


_SILENT_OPENCV = _SilentOpenCV()


def _with_opencv(content: bytearray) -> NDArray[Any]:
    """Return colours of 16 bits, of which Pillow keeps 8; what OpenCV prints about GDAL's tags is not shown."""
    with _SILENT_OPENCV:
        decoded: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.ndim != 3:
        raise ValueError("its pixels are damaged")
    return decoded[..., [2, 1, 0, 3][: decoded.shape[2]]]
