"""Read one image or mask file: PNG, JPEG or TIFF, 8 or 16 bit or float, any number of bands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ensemble.core.errors import EnsError
from ensemble.data.formats.pixels import to_ids

T = TypeVar("T")

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def read_image(path: Path) -> NDArray[np.generic]:
    """Return an image as (h, w, c) in the type of the file; colours are in RGB order, the alpha of a PNG is dropped."""
    if (bands := _read_tiff(path)) is not None:
        return _as_bands(bands, path)
    content = np.frombuffer(_guard(path, path.read_bytes), np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if image is None:
        raise EnsError(f"{path} cannot be read as an image; write it again as PNG, JPEG or TIFF")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return _as_bands(image, path)


def _read_tiff(path: Path) -> NDArray[np.generic] | None:
    """Return the pixels of a TIFF, or None for other files and for codecs (LZW, JPEG) that OpenCV and Pillow read."""

    def read() -> NDArray[np.generic] | None:
        try:
            return np.asarray(tifffile.imread(path))
        except ValueError as error:
            if "imagecodecs" in str(error):
                return None
            raise

    return _guard(path, read) if path.suffix.lower() in (".tif", ".tiff") else None


def _as_bands(image: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    if image.ndim == 2:
        return image[..., None]
    if image.ndim != 3:
        raise EnsError(f"expected a grey image (h, w) or bands (h, w, c) in {path}, got the shape {image.shape}")
    # TIFF writers put the bands first or last; there are fewer bands than pixels along a side.
    return np.moveaxis(image, 0, -1) if image.shape[0] < min(image.shape[1:]) else image


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Return a mask of class ids (h, w): the indices of a palette image, or the grey values; alpha is dropped."""

    def read() -> NDArray[np.generic]:
        with Image.open(path) as image:
            return np.asarray(image)

    mask = _read_tiff(path)
    if mask is None:
        mask = _guard(path, read)
    if mask.ndim == 3 and mask.shape[2] in (2, 4):
        mask = mask[..., :-1]
    if mask.ndim == 3 and (mask[..., :1] == mask).all():
        mask = mask[..., 0]
    if mask.ndim != 2:
        raise EnsError(f"expected one id per pixel (indexed or grey) in the mask {path}, got colours {mask.shape}")
    return to_ids(mask, str(path))


def _guard(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except Exception as error:  # decoders raise errors of many kinds on damaged files: struct.error, IndexError ...
        raise EnsError(f"{path} cannot be read as an image ({error}); write it again as PNG, JPEG or TIFF") from None


def image_files(folder: Path) -> dict[str, Path]:
    """Return the image files of a folder by stem, in sorted order.

    Raises:
        EnsError: when two files have the same stem.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            if path.stem in files:
                raise EnsError(f"{files[path.stem].name} and {path.name} in {folder} have the same name; rename one")
            files[path.stem] = path
    return files


def image_shape(path: Path) -> tuple[int, int]:
    """Return height and width; only the header is read."""
    if path.suffix.lower() in (".tif", ".tiff"):

        def shape() -> tuple[int, ...]:
            with tifffile.TiffFile(path) as file:
                return file.series[0].shape

        sides = _guard(path, shape)
        if len(sides) == 2:
            return sides[0], sides[1]
        return (sides[1], sides[2]) if sides[0] < min(sides[1:]) else (sides[0], sides[1])

    def size() -> tuple[int, int]:
        with Image.open(path) as image:
            return image.size

    width, height = _guard(path, size)
    return height, width


def resize(array: NDArray[np.generic], size: tuple[int, int], interpolation: int) -> NDArray[np.generic]:
    """Resize (h, w) or (h, w, c) to ``size`` (height, width); bands are kept."""
    if array.shape[:2] == size:
        return array
    planes = [array] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    resized: list[NDArray[np.generic]] = []
    for plane in planes:
        contiguous: Any = np.ascontiguousarray(plane)  # cv2's stubs know fewer types than cv2
        resized.append(cv2.resize(contiguous, size[::-1], interpolation=interpolation))
    return resized[0] if array.ndim == 2 else np.stack(resized, axis=-1)
