"""Decode some rows of a TIFF: no more strips or tiles are read than hold them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def decode_rows(series: Any, first: int, end: int) -> NDArray[Any]:
    """Return some rows of a picture as they are stored, with the axes of the series.

    Args:
        series: a series of tifffile, of one page, or of a page per band.
        first: first row.
        end: row after the last one.

    Raises:
        ValueError: a strip or tile is cut short, damaged, or of a compression that tifffile cannot decode.
    """
    if series.dataoffset is not None:
        return _stored(series, first, end)
    pages = [_page_rows(page, series.keyframe, first, end) for page in series.pages]
    return pages[0] if len(pages) == 1 else np.stack(pages)


def _stored(series: Any, first: int, end: int) -> NDArray[Any]:
    """Return rows of an uncompressed picture that is stored in one piece; a single strip may hold all of it."""
    handle, shape = series.parent.filehandle, series.shape
    rows_axis = series.axes.index("Y")
    planes, length = math.prod(shape[:rows_axis]), math.prod(shape[rows_axis + 1 :])
    dtype = np.dtype(series.dtype).newbyteorder(series.parent.byteorder)
    found = np.empty((planes, (end - first) * length), series.dtype)
    for plane in range(planes):
        handle.seek(series.dataoffset + (plane * shape[rows_axis] + first) * length * dtype.itemsize)
        found[plane] = np.frombuffer(_read(handle, found.shape[1] * dtype.itemsize), dtype)
    return found.reshape(*shape[:rows_axis], end - first, *shape[rows_axis + 1 :])


def _page_rows(page: Any, key: Any, first: int, end: int) -> NDArray[Any]:
    """Return rows of a page of strips or tiles; where a sparse file has none, pixels have no data."""
    planes, _, _, width, samples = key.shaped
    high = key.tilelength if key.is_tiled else key.rowsperstrip
    across = -(-width // key.tilewidth) if key.is_tiled else 1
    down = -(-key.imagelength // high)
    found = np.full((planes, end - first, width, samples), key.nodata, key.dtype)
    tables = {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader} if key.compression in _JPEG else {}
    for index, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        top = index // across % down * high
        if count and top < end and top + high > first:
            page.parent.filehandle.seek(offset)
            segment, (plane, _, top, left, _), shape = key.decode(_read(page.parent.filehandle, count), index, **tables)
            begin, right = max(first, top), min(width, left + shape[2])  # the last tiles reach beyond the picture
            part = segment[0, begin - top : min(end - top, shape[1]), : right - left]
            found[plane, begin - first : begin - first + len(part), left:right] = part
    shape = key.shape
    place = key.axes.index("Y")
    return found.reshape(*shape[:place], end - first, *shape[place + 1 :])


_JPEG = (6, 7, 34892, 33007)


def _read(handle: Any, count: int) -> bytes:
    content = handle.read(count)
    if len(content) < count:
        raise ValueError("the file ends before its pixels do")
    return content
