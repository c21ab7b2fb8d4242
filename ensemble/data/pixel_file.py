"""Decoded pixels of one image in a file of blocks, each with a checksum, so that a window is read without the rest.

The file holds a head of 40 bytes, the checksums of all blocks (CRC-32), and the blocks of 128x128 pixels, row by row
of blocks; those at the right and lower border are smaller. A window is read with one access per row of blocks, so its
cost does not depend on the size of the image. Files are read, not mapped into memory: an error of the disk in a
mapped file would end the process.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ensemble.core.temporary import temporary_file

SIDE = 128  # of a block: small, so that a crop of 256 pixels needs little around it
Bounds = tuple[int, int]
"""First row (or column) of a window, and the one after its last."""

_MAGIC = b"ens-px1\n"
_HEAD = struct.Struct("<8sIIII4s8xI")


class _Damaged(Exception):
    """Raised when a file does not hold what its head or its checksums say."""


@dataclass(frozen=True)
class _Layout:
    """Where the blocks of an image lie in its file."""

    height: int
    width: int
    bands: int
    planar: bool  # a mask (h, w) has no axis of bands
    dtype: np.dtype[np.generic]

    @property
    def across(self) -> int:
        """Blocks beside one another."""
        return -(-self.width // SIDE)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.across * -(-self.height // SIDE)

    @property
    def pixel(self) -> int:
        """Bytes of a pixel."""
        return self.bands * self.dtype.itemsize

    @property
    def start(self) -> int:
        """Place of the first block in the file."""
        return _HEAD.size + 4 * self.blocks

    def head(self, seed: int) -> bytes:
        """Return the head of the file, which ends with a checksum of itself."""
        fields = (_MAGIC, self.height, self.width, self.bands, self.planar, self.dtype.str.encode())
        return _HEAD.pack(*fields, zlib.crc32(_HEAD.pack(*fields, 0), seed))


def write_pixels(path: Path, pixels: NDArray[np.generic], key: str) -> None:
    """Write an image (h, w, bands) or a mask (h, w); the file appears when it is whole.

    It is not forced to the disk: if the machine stops before, the checksums say so, and the image is decoded again.

    Args:
        path: the file; its folder is made where it is absent.
        pixels: the pixels.
        key: what the file stands for; it is not read under another key.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    height, width = pixels.shape[:2]
    layout = _Layout(height, width, 1 if pixels.ndim == 2 else pixels.shape[2], pixels.ndim == 2, pixels.dtype)
    seed = zlib.crc32(key.encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(path) as (handle, temporary):
        with os.fdopen(handle, "wb") as stream:
            stream.seek(layout.start)
            sums: list[int] = []
            for top in range(0, layout.height, SIDE):
                for left in range(0, layout.width, SIDE):
                    block = np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE]).data.cast("B")
                    sums.append(zlib.crc32(block, seed))
                    stream.write(block)
            stream.seek(0)
            stream.write(layout.head(seed) + np.array(sums, "<u4").tobytes())
        temporary.replace(path)


def read_pixels(
    path: Path, key: str, rows: Bounds | None = None, columns: Bounds | None = None
) -> NDArray[np.generic] | None:
    """Return a window of what `write_pixels` wrote, or None if the file is absent, damaged or stands for another key.

    Args:
        path: the file.
        key: the key that it was written under.
        rows: rows of the window, within the image; None for all.
        columns: columns of the window; None for all.
    """
    seed = zlib.crc32(key.encode())
    try:
        with path.open("rb", buffering=0) as stream:
            layout = _read_layout(stream, seed)
            return _read_window(stream, layout, seed, rows or (0, layout.height), columns or (0, layout.width))
    except (OSError, _Damaged):
        return None


def _read(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise _Damaged
    return content


def _read_layout(stream: IO[bytes], seed: int) -> _Layout:
    head = _read(stream, _HEAD.size)
    magic, height, width, bands, planar, dtype, _ = _HEAD.unpack(head)
    if magic != _MAGIC:
        raise _Damaged
    try:
        layout = _Layout(height, width, bands, bool(planar), np.dtype(dtype.rstrip(b"\0").decode()))
    except (TypeError, ValueError):
        raise _Damaged from None
    if layout.head(seed) != head:
        raise _Damaged
    return layout


def _read_window(stream: IO[bytes], layout: _Layout, seed: int, rows: Bounds, columns: Bounds) -> NDArray[np.generic]:
    (top, bottom), (left, right) = rows, columns
    sums = np.frombuffer(_read(stream, 4 * layout.blocks), "<u4")
    window = np.empty((bottom - top, right - left, layout.bands), layout.dtype)
    for block_top in range(top // SIDE * SIDE, bottom, SIDE):
        for block_left, block in _row_of_blocks(stream, layout, seed, sums, block_top, columns):
            inner = (max(top, block_top), min(bottom, block_top + block.shape[0]))
            part = (max(left, block_left), min(right, block_left + block.shape[1]))
            window[inner[0] - top : inner[1] - top, part[0] - left : part[1] - left] = block[
                inner[0] - block_top : inner[1] - block_top, part[0] - block_left : part[1] - block_left
            ]
    return window[..., 0] if layout.planar else window


def _row_of_blocks(
    stream: IO[bytes], layout: _Layout, seed: int, sums: NDArray[np.uint32], top: int, columns: Bounds
) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """Yield the blocks (h, w, bands) that hold the columns, with the first column of each; they follow one another."""
    height = min(SIDE, layout.height - top)
    first, end = columns[0] // SIDE * SIDE, min(layout.width, -(-columns[1] // SIDE) * SIDE)
    stream.seek(layout.start + (top * layout.width + height * first) * layout.pixel)
    content = memoryview(_read(stream, height * (end - first) * layout.pixel))
    for left in range(first, end, SIDE):
        width = min(SIDE, layout.width - left)
        offset = height * (left - first) * layout.pixel
        block = content[offset : offset + height * width * layout.pixel]
        if zlib.crc32(block, seed) != sums[top // SIDE * layout.across + left // SIDE]:
            raise _Damaged
        yield left, np.frombuffer(block, layout.dtype).reshape(height, width, layout.bands)
