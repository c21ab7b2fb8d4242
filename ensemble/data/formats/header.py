"""What the head of an image file says, and the checks of its size before any pixel is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.reading import check_memory

Kind = Literal["PNG", "JPEG", "TIFF", "BMP", "WebP"]
MAX_PIXELS = 1 << 29  # 23,170 pixels a side
_TRANSPOSED = (5, 6, 7, 8)
_BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)


@dataclass(frozen=True)
class Header:
    """What is known of an image before its pixels are read.

    Attributes:
        kind: format of the file, by its content.
        height: height as a viewer shows the image, in pixels.
        width: width as a viewer shows the image, in pixels.
        bands: bands of the image that is read from it: the colours of a palette are 3, alpha does not count.
        dtype: type of its numbers.
        orientation: how the stored pixels are turned to be shown, 1 to 8 (EXIF and TIFF tag 274); 1 is as stored.
        lossy: whether pixels are stored by a lossy compression.
        no_data: the value that marks pixels without data (GDAL's TIFF tag), or None.
        inverted: whether 0 is white.
    """

    kind: Kind
    height: int
    width: int
    bands: int
    dtype: str
    orientation: int = 1
    lossy: bool = False
    no_data: float | None = None
    inverted: bool = False

    @property
    def reading(self) -> str:
        """How the image is changed when it is read; empty if it is read as it is stored."""
        turned = f"turned {self.orientation}" if self.orientation != 1 else ""
        filled = f"no data {self.no_data!r}" if self.no_data is not None else ""
        return " ".join(text for text in (turned, filled, "inverted" * self.inverted) if text)


def kind_of(content: bytes) -> Kind:
    """Return the format of a file from its first bytes.

    Raises:
        EnsError: none of the formats that are read.
    """
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    for beginning, kind in _BEGINNINGS:
        if content.startswith(beginning):
            return kind
    raise ValueError("it is empty" if not content else "it does not begin as an image does")


def check_size(height: int, width: int, nbytes: int, path: Path) -> None:
    """Check the size that a file claims before memory is asked for.

    Raises:
        EnsError: no pixel, more than 2^29 pixels, or more bytes than there is memory.
    """
    if height < 1 or width < 1:
        raise EnsError(f"expected an image of at least 1x1 pixels in {path}, got {height}x{width}; write it again")
    if height * width > MAX_PIXELS:
        raise EnsError(
            f"expected at most {MAX_PIXELS} pixels in an image, got {height}x{width} in {path}; cut it into pieces"
        )
    check_memory(nbytes, f"the image {path} of {height}x{width}")


def shown_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Return height and width after an image is turned by its orientation."""
    return (width, height) if orientation in _TRANSPOSED else (height, width)


def turned(array: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Return an image (h, w) or (h, w, c) as a viewer shows it.

    Args:
        array: the pixels as they are stored.
        orientation: 1 to 8 as EXIF defines it; other values count as 1, as in viewers.
    """
    if orientation in _TRANSPOSED:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array
