"""Decode PNG, JPEG, BMP and WebP: all bits of all bands, or a refusal."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ensemble.core.errors import EnsError
from ensemble.data.formats.header import Header, Kind, check_size, shown_size

_ORIENTATION = 0x0112
# Pillow's own classes, not Image.open: that warns from 89 million pixels on, and our limit is another one.
_OPENERS: dict[Kind, Callable[[io.BytesIO], Image.Image]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "BMP": BmpImageFile,
    "WebP": WebPImageFile,
}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# Bytes (PNG: of the rows) or pixels (JPEG) that a byte of a file can hold at most: the bound of deflate, and a bit per
# block of 64 pixels.
_DEFLATE, _JPEG = 1032, 1024
_BANDS = {"1": 1, "L": 1, "LA": 1, "I": 1, "I;16": 1}  # all other modes become colours


def read_header(content: bytes, kind: Kind, path: Path) -> Header:
    """Return what the head of a picture says; the checksums of a PNG are compared, no pixel is decoded.

    Raises:
        EnsError: a size that is too large, or a file of several pictures.
    """
    chunks = dict(_png_chunks(content)) if kind == "PNG" else {}
    picture = _OPENERS[kind](io.BytesIO(content))
    width, height = picture.size
    wide = _is_wide(content, kind)
    check_size(height, width, height * width * len(picture.getbands()) * (2 if wide else 1), path)
    _check_claim(content, kind, picture, path)
    frames = struct.unpack(">I", chunks[b"acTL"][:4])[0] if b"acTL" in chunks else getattr(picture, "n_frames", 1)
    if frames > 1 and kind != "JPEG":  # the further pictures of a JPEG are previews
        raise EnsError(f"{path} holds {frames} pictures; write one picture into each file")
    orientation = _orientation(picture, kind, chunks)
    height, width = shown_size(height, width, orientation)
    bands = _BANDS.get(picture.mode, 3)
    if wide:
        bands = 1 if _png_colour(content) in (0, 4) else 3
    lossy = kind == "JPEG" or (kind == "WebP" and b"VP8L" not in content[:64] and b"VP8 " in content)
    return Header(kind, height, width, bands, "uint16" if wide else "uint8", orientation, lossy)


def read_pixels(content: bytes, kind: Kind, *, ids: bool) -> NDArray[Any]:
    """Return the pixels as they are stored, (h, w) or (h, w, c).

    Args:
        content: the file.
        kind: its format.
        ids: return the numbers of a mask: the indices of a palette, alpha included, grey values of 1, 2 and 4 bits as
            they are. Otherwise palettes become colours, alpha is dropped, and grey values fill the range of 8 bits.
    """
    if _is_wide(content, kind) and _png_colour(content) != 0:  # Pillow keeps 8 of 16 bits per colour
        return _wide_colours(content, ids=ids)
    picture = _OPENERS[kind](io.BytesIO(content))
    mode = picture.mode
    if ids:
        array = np.asarray(picture)
        depth = content[24] if kind == "PNG" and mode == "L" else 8
        return array // np.uint8(255 // (2**depth - 1)) if depth < 8 else array
    if mode not in ("1", "L", "LA", "RGB", "RGBA", "I", "I;16"):
        picture = picture.convert("RGB")
    array = np.asarray(picture)
    if mode in ("1", "I"):
        return array.astype(np.uint16) if mode == "I" else array.astype(np.uint8) * np.uint8(255)
    return array[..., 0] if mode == "LA" else array[..., :3] if mode == "RGBA" else array


def _wide_colours(content: bytes, *, ids: bool) -> NDArray[Any]:
    decoded: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise ValueError("its pixels are damaged")
    colours = decoded[..., [2, 1, 0, 3]] if decoded.shape[2] == 4 and ids else decoded[..., 2::-1]
    return colours[..., 0] if _png_colour(content) == 4 and not ids else colours


def _is_wide(content: bytes, kind: Kind) -> bool:
    return kind == "PNG" and content[24] == 16


def _png_colour(content: bytes) -> int:
    return content[25]


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each chunk of a PNG (of the pixels only the length), and compare its checksum.

    Decoders skip some of the checksums, and read on where a file was cut short.
    """
    position, view = 8, memoryview(content)
    while True:
        head = view[position : position + 8]
        if len(head) < 8:
            raise ValueError("it was cut short")
        length, name = struct.unpack(">I4s", head)
        body, checksum = (
            view[position + 8 : position + 8 + length],
            view[position + 8 + length : position + 12 + length],
        )
        if len(checksum) < 4:
            raise ValueError("it was cut short")
        if zlib.crc32(body, zlib.crc32(name)) != int.from_bytes(checksum, "big"):
            raise ValueError(f"the checksum of its part {name.decode('latin-1')!r} differs")
        yield name, b"" if name == b"IDAT" else bytes(body)
        position += 12 + length
        if name == b"IEND":
            return


def _check_claim(content: bytes, kind: Kind, picture: Image.Image, path: Path) -> None:
    """Check that a file of this length can hold the pixels that it claims."""
    width, height = picture.size
    if kind == "PNG":
        bits, held = content[24] * _PNG_CHANNELS[_png_colour(content)], _DEFLATE * len(content)
        needed = height * (width * bits // 8)
    elif kind == "JPEG":
        needed, held = width * height, _JPEG * len(content)
    elif kind == "BMP" and picture.info.get("compression", 0) in (0, 3):
        needed, held = width * height * int.from_bytes(content[28:30], "little") // 8, len(content)
    else:
        return
    if needed > held:
        raise EnsError(
            f"{path} claims {height}x{width} pixels, more than its {len(content)} bytes can hold; write it again"
        )


def _orientation(picture: Image.Image, kind: Kind, chunks: dict[bytes, bytes]) -> int:
    """Return the EXIF orientation; EXIF that cannot be read counts as none, as in viewers."""
    try:
        if kind == "PNG":  # Pillow would decode the pixels to look for EXIF behind them
            exif = Image.Exif()
            if b"eXIf" in chunks:
                exif.load(b"Exif\0\0" + chunks[b"eXIf"])
        else:
            exif = picture.getexif()
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # Pillow raises errors of many kinds here
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
