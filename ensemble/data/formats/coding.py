"""Turn the pixels of masks into labels: ids with any gaps, colours, alpha, one channel, or several files united."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.data.description import MAX_VALUE, Description, Value
from ensemble.data.formats.image_files import read_mask_pixels

_UNKNOWN = -1
_OPAQUE = 128  # alpha from which a pixel belongs to what was cut out


class MaskTable(Protocol):
    """One file that holds the masks of all images, such as COCO's JSON."""

    @property
    def names(self) -> frozenset[str]:
        """Names of the images that it knows, without their ending."""
        ...

    def values(self, name: str, height: int, width: int) -> NDArray[np.uint16]:
        """Return the ids of the pixels of an image (h, w)."""
        ...


def read_values(paths: Sequence[Path], description: Description) -> NDArray[Any]:
    """Return the values of a mask (h, w): ids, or colours as numbers ``0xRRGGBB``.

    Several files are united: a pixel gets its largest value. So a file for each object becomes one mask.

    Raises:
        EnsError: a file cannot be read, or holds other pixels than the description says.
    """
    united = _values(paths[0], description)
    for path in paths[1:]:
        values = _values(path, description)
        if values.shape != united.shape:
            raise EnsError(
                f"expected masks of one image to have one size, got {united.shape[0]}x{united.shape[1]} in {paths[0]}"
                f" and {values.shape[0]}x{values.shape[1]} in {path}; write them in one size"
            )
        united = np.maximum(united, values)
    return united


def _values(path: Path, description: Description) -> NDArray[Any]:
    if description.coding == "alpha":
        pixels = read_mask_pixels(path, alpha=True)
        if pixels.ndim != 3 or pixels.shape[2] not in (2, 4):
            raise EnsError(f"expected a mask with transparency in {path}, got {_bands(pixels)}; correct the coding")
        return np.where(pixels[..., -1] >= _OPAQUE, np.uint8(255), np.uint8(0))
    if description.coding == "colours":
        pixels = read_mask_pixels(path, colours=True)
        if pixels.dtype != np.uint8:
            raise EnsError(f"expected colours of 8 bits in the mask {path}, got {pixels.dtype}; correct the coding")
        red, green, blue = (pixels[..., min(band, pixels.shape[2] - 1)].astype(np.uint32) for band in range(3))
        return red << 16 | green << 8 | blue
    return _ids(read_mask_pixels(path), path, description.channel)


def _ids(pixels: NDArray[Any], path: Path, channel: int | None) -> NDArray[Any]:
    if channel is not None:
        bands = pixels[..., None] if pixels.ndim == 2 else pixels
        if channel > bands.shape[2]:
            raise EnsError(f"expected at least {channel} bands in the mask {path}, got {_bands(pixels)}")
        pixels = bands[..., channel - 1]
    if pixels.ndim == 3 and (pixels[..., :1] == pixels).all():
        pixels = pixels[..., 0]
    if pixels.ndim != 2:
        raise EnsError(
            f"expected one id per pixel in the mask {path}, got {_bands(pixels)} that differ; set coding or channel"
        )
    with np.errstate(invalid="ignore"):
        ids = pixels.astype(np.uint16)
    if pixels.dtype.kind not in "buif" or (ids != pixels).any():
        wrong = pixels[ids != pixels] if pixels.dtype.kind in "buif" else pixels
        raise EnsError(
            f"expected whole numbers from 0 to {MAX_VALUE} in the mask {path}, got values such as {wrong.flat[0]}"
        )
    return ids


def to_labels(values: NDArray[Any], indices: Mapping[Value, int], what: str) -> NDArray[np.uint8]:
    """Return the labels of values: the number of the class, 255 for void.

    Args:
        values: ids or colours as `read_values` returns them.
        indices: label of each value, see `Description.indices`.
        what: name of the mask, for messages.

    Raises:
        EnsError: a value is neither a class nor void; the text names it.
    """
    numbers = sorted((number_of(value), label) for value, label in indices.items())
    known, labels = np.array(numbers, np.int64).T
    if values.dtype.itemsize <= 2:  # ids: a table of all values is five times as fast as a search
        table = np.full(MAX_VALUE + 1, _UNKNOWN, np.int16)
        table[known] = labels
        found_labels = table[values]
        unknown = found_labels == _UNKNOWN
    else:
        places = np.searchsorted(known, values.ravel()).clip(0, len(known) - 1).reshape(values.shape)
        found_labels = labels[places]
        unknown = known[places] != values
    if unknown.any():
        found, counts = np.unique(values[unknown], return_counts=True)
        colours = any(isinstance(value, str) for value in indices)
        shown = [f"{text_of(int(value), colours)} ({count} pixels)" for value, count in zip(found, counts, strict=True)]
        raise EnsError(
            f"{what} holds {', '.join(shown[:3])}{', ...' if len(shown) > 3 else ''}, which the description gives to no"
            " class; add it to a class or to void"
        )
    return found_labels.astype(np.uint8)


def paint(
    masks: Sequence[NDArray[np.bool_]], values: Sequence[int], height: int, width: int, below: Sequence[bool] = ()
) -> NDArray[np.uint16]:
    """Return the values of the pixels (h, w) of objects that are painted over each other; 0 without an object.

    Smaller objects lie above larger ones; of two equal ones the later lies above.

    Args:
        masks: pixels of each object.
        values: value of each object.
        height, width: size of the image.
        below: whether an object lies below all that are not; empty for none.
    """
    painted = np.zeros((width, height), np.uint16).T  # masks are decoded column by column
    lowest = list(below) or [False] * len(masks)
    areas = [int(np.count_nonzero(mask.T)) for mask in masks]
    for place in sorted(range(len(masks)), key=lambda place: (not lowest[place], -areas[place])):
        np.copyto(painted, np.uint16(values[place]), where=masks[place])
    return np.ascontiguousarray(painted)


def number_of(value: Value) -> int:
    """Return a value as a number; a colour ``#rrggbb`` is ``0xRRGGBB``."""
    return int(value.removeprefix("#"), 16) if isinstance(value, str) else value


def text_of(number: int, colour: bool) -> str:
    """Return a value as it stands in a description.

    >>> text_of(255, colour=True)
    '#0000ff'
    """
    return f"#{number:06x}" if colour else str(number)


def _bands(pixels: NDArray[Any]) -> str:
    return f"{1 if pixels.ndim == 2 else pixels.shape[2]} band(s)"
