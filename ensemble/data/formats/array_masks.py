"""Find the axes of arrays of images and masks, and the values of masks: ids, one channel per class, or colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble.core.arrays import Entry
from ensemble.core.errors import EnsError
from ensemble.data.description import MAX_VALUE, Coding

Axis = Literal["none", "first", "last"]
"""Where the bands of an array (n, ...) are: nowhere, before height and width, or after them."""

_RGB = 3
_SMALLEST = 8  # an axis that is shorter is one of bands, if images and masks have the same number of them


@dataclass(frozen=True)
class Axes:
    """Where the bands of images and masks are, and the size that both have."""

    images: Axis
    masks: Axis
    height: int
    width: int


def _possible(shape: Sequence[int]) -> dict[tuple[int, int], list[Axis]]:
    """Return the sizes (h, w) that an array may have, with the axis of its bands."""
    if len(shape) == 3:
        return {(shape[1], shape[2]): ["none"]}
    found: dict[tuple[int, int], list[Axis]] = {(shape[1], shape[2]): ["last"]}
    found.setdefault((shape[2], shape[3]), []).append("first")
    return found


def find_axes(images: Entry, masks: Entry) -> Axes:
    """Return the axes of images and masks, which are decided by the size that both have.

    Raises:
        EnsError: they are no stacks of images, differ in number or size, or both ends may be the bands.
    """
    for entry, what in ((images, "images"), (masks, "masks")):
        if len(entry.shape) not in (3, 4) or min(entry.shape) < 1:
            raise EnsError(f"expected {entry} as a stack of {what} (N, H, W) or (N, H, W, C), got {entry.shape}")
    if images.shape[0] != masks.shape[0]:
        raise EnsError(
            f"expected a mask for each image, got {images.shape[0]} images in {images} but {masks.shape[0]} masks in"
            f" {masks}"
        )
    of_images, of_masks = _possible(images.shape), _possible(masks.shape)
    fits = [
        Axes(one, other, *size)
        for size in of_images
        if size in of_masks
        for one in of_images[size]
        for other in of_masks[size]
    ]
    if not fits:
        raise EnsError(
            f"expected images and masks of one size, got {images.shape} in {images} and {masks.shape} in {masks}"
        )
    if len(fits) > 1:
        fits = [fit for fit in fits if min(fit.height, fit.width) >= _SMALLEST] or fits
    if len(fits) > 1:
        raise EnsError(
            f"{images} {images.shape} and {masks} {masks.shape} may have their bands before or after height and width;"
            " save the masks as (N, H, W) and the images as (N, H, W, C) with other sizes than bands"
        )
    return fits[0]


def bands_last(array: NDArray[Any], axis: Axis) -> NDArray[Any]:
    """Return images (n, h, w, c) or one image (h, w, c)."""
    if axis == "none":
        return array[..., None]
    return np.moveaxis(array, -3, -1) if axis == "first" else array


def to_values(masks_nhwk: NDArray[Any], coding: Coding | None, what: str) -> tuple[Coding, NDArray[Any]]:
    """Return what the pixels of masks are, and their values (n, h, w): ids, or colours as ``0xRRGGBB``.

    Args:
        masks_nhwk: masks with one band, with one band per class, or with the three of a colour.
        coding: what the pixels are, or None if that is to be found out.
        what: name of the masks, for messages.

    Raises:
        EnsError: the values are no whole numbers, or several bands are neither classes nor colours.
    """
    count = masks_nhwk.shape[-1]
    if coding == "colours" and (count != _RGB or masks_nhwk.dtype != np.uint8):
        raise EnsError(f"expected colours (uint8, three bands) in {what}, got {masks_nhwk.dtype}, {count} band(s)")
    if coding not in (None, "ids", "colours"):
        raise EnsError(f"expected the coding ids or colours for {what}, got {coding}; correct the description")
    if coding != "colours":
        if count == 1 or (count == _RGB and (masks_nhwk == masks_nhwk[..., :1]).all()):
            return "ids", _ids(masks_nhwk[..., 0], what)
        if (classes := _one_hot(masks_nhwk)) is not None:
            return "ids", classes
    if count != _RGB or masks_nhwk.dtype != np.uint8 or coding == "ids" or masks_nhwk.max(initial=0) <= 1:
        raise EnsError(
            f"expected one id per pixel in {what}, or {count} bands of which exactly one is set at every pixel"
            " (one-hot), got others; save the ids as (N, H, W)"
        )
    red, green, blue = np.moveaxis(masks_nhwk.astype(np.uint32), -1, 0)
    return "colours", red << 16 | green << 8 | blue


def _one_hot(masks_nhwk: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Return the class of each pixel if exactly one band is set everywhere, else None."""
    highest = masks_nhwk.max()
    if masks_nhwk.shape[-1] > 255 or not highest > 0:
        return None
    for mask in masks_nhwk:
        held = mask == highest
        if not ((mask == 0) | held).all() or not (held.sum(-1) == 1).all():
            return None
    return masks_nhwk.argmax(-1).astype(np.uint8)


def _ids(masks_nhw: NDArray[Any], what: str) -> NDArray[np.uint16]:
    with np.errstate(invalid="ignore"):
        ids = masks_nhw.astype(np.uint16)
    wrong = ids != masks_nhw
    if wrong.any():
        row = int(np.nonzero(wrong)[0][0])
        raise EnsError(
            f"expected whole numbers from 0 to {MAX_VALUE} in {what}, got values such as {masks_nhw[wrong].flat[0]} in"
            f" the mask {row}"
        )
    return ids
