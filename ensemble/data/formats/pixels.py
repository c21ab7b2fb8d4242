"""Convert raw values: pixels to the range 0..1, and mask values to class ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError

Span = tuple[float, float]
UNIT: Span = (0.0, 1.0)
BYTES: Span = (0.0, 255.0)
BRIGHT = 2.0  # largest reflectance: snow, clouds and glints are a little above 1
FAR = 50.0  # pixels that lie further than this many spans outside of the span are in other units
_NATURAL: dict[str, Span] = {"uint8": BYTES, "uint16": (0.0, 65535.0), "bool": UNIT}
# Values that programs write where there is no measurement; the last two are the limits of float32.
_MARKS = (-9999.0, -99999.0, -32768.0, -32767.0, -3.4028234663852886e38, 3.4028234663852886e38)


def natural_span(dtype: str) -> Span | None:
    """Return the raw values that become 0 and 1 by the type alone, or None for types that do not decide it."""
    return _NATURAL.get(dtype)


def check_pixels(image: NDArray[np.generic], what: str) -> None:
    """Check that pixels are finite numbers, and that none is a mark of missing data.

    A mark is a known value, such as -9999, that is further away from all other pixels than these are from each other.

    Args:
        image: pixels of one image.
        what: name of the image, for messages.

    Raises:
        EnsError: they are not; the text names the image and counts its pixels.
    """
    if image.dtype.kind in "ub" or not image.size:
        return
    if image.dtype.kind not in "fi":
        raise EnsError(f"expected numbers as pixels in {what}, got {image.dtype}; save it as uint8 or float32")
    low, high = float(image.min()), float(image.max())
    if not np.isfinite([low, high]).all():
        raise EnsError(
            f"expected finite numbers as pixels in {what}, got NaN or infinity at {int((~np.isfinite(image)).sum())} of"
            f" {image.size} values; fill them or leave that image out"
        )
    for mark in _MARKS:
        if not low <= mark <= high:
            continue
        marked = image == mark
        rest = image[~marked].astype(np.float64)
        if marked.any() and (
            not rest.size or min(abs(rest.min() - mark), abs(rest.max() - mark)) > rest.max() - rest.min()
        ):
            raise EnsError(
                f"{what} holds {int(marked.sum())} values of {mark:g}, which looks like a mark of missing data; fill"
                f" them, {_WITH_TAG if _is_tiff(what) else 'or leave that image out'}"
            )


_WITH_TAG = (
    "leave that image out, or write the mark into the TIFF tag GDAL_NODATA (gdal_edit -a_nodata), which makes these"
    " pixels void"
)


def _is_tiff(what: str) -> bool:
    """Return whether an image comes from a TIFF file, the only format with a tag for missing data."""
    return what.lower().endswith((".tif", ".tiff"))


class Limits(NamedTuple):
    """What the pixels of one image span.

    Attributes:
        low: smallest pixel.
        high: largest pixel.
        whole: whether all are whole numbers.
    """

    low: float
    high: float
    whole: bool


def limits_of(image: NDArray[np.generic]) -> Limits:
    """Return what the pixels of an image span."""
    whole = image.dtype.kind != "f" or bool((image == np.floor(image)).all())
    return Limits(float(image.min()), float(image.max()), whole)


def pixel_span(limits: Mapping[str, Limits], dtype: np.dtype[np.generic]) -> Span:
    """Return the raw values that become 0 and 1.

    They are the range of the type. For other types all training images decide together: whole numbers from 0 to 1 or
    from 0 to 255 give this range, fractions from 0 to at most 2 give 0 and 1 (reflectance can exceed 1), and all else
    gives the smallest and largest pixel.

    Args:
        limits: what the pixels of each training image span, by the name of the image.
        dtype: type of the numbers.

    Raises:
        EnsError: when some images hold whole numbers up to 255 and others fractions up to 1.
    """
    if (natural := natural_span(dtype.name)) is not None:
        return natural
    low, high = min(each.low for each in limits.values()), max(each.high for each in limits.values())
    fractions = [name for name, each in limits.items() if not each.whole]
    if not fractions:
        if low >= 0 and high <= 255:
            return UNIT if high <= 1 else BYTES
    elif low >= 0 and high <= BRIGHT:
        return UNIT
    elif low >= 0 and high <= 255 and all(limits[name].high <= 1 for name in fractions):
        other = next(name for name, each in limits.items() if each.whole and each.high > 1)
        raise EnsError(
            f"expected images in one unit, got whole numbers up to 255 in {len(limits) - len(fractions)} images, such"
            f" as {other}, but fractions up to 1 in {len(fractions)}, the first is {fractions[0]}; convert them to one"
            " unit"
        )
    return (low, high) if high > low else (low, low + 1)


def to_unit(images: NDArray[np.generic], span: Span, what: str) -> NDArray[np.generic]:
    """Return pixels as float32 with ``span`` mapped to 0..1; bytes stay uint8, which takes a quarter of the memory.

    Args:
        images: pixels in the units of the images that gave the span.
        span: raw values that become 0 and 1.
        what: name of the images, for messages.

    Raises:
        EnsError: when the pixels are no numbers, NaN or infinite, or clearly in other units.
    """
    if images.dtype == np.uint8 and span == BYTES:
        return images
    if images.dtype.kind not in "fiub" or not np.isfinite(images).all():
        raise EnsError(f"expected finite numbers as pixels in {what}, got {images.dtype} with NaN, infinity or text")
    if images.size and _in_other_units(images, span):
        got = f"{images.dtype} in {images.min():g}..{images.max():g}"
        raise EnsError(
            f"expected pixels in the units of the training images, {span[0]:g} to {span[1]:g}, got {got} in {what};"
            " convert them"
        )
    return scaled(images, span)


def scaled(images: NDArray[np.generic], span: Span) -> NDArray[np.generic]:
    """Return what `to_unit` returns, of pixels that have been checked."""
    if images.dtype == np.uint8 and span == BYTES:
        return images
    return (images.astype(np.float32) - np.float32(span[0])) / np.float32(span[1] - span[0])


def dark_note(highest: float, span: Span) -> str | None:
    """Return a sentence if the highest pixel of all images suggests other units than those of the span, else None.

    Whole numbers in the type of the training images cannot be refused, because an image may be that dark.
    """
    limit = {BYTES: 1, _NATURAL["uint16"]: 255}.get(span)
    if limit is None or highest > limit:
        return None
    return (
        f"no pixel of the images is above {highest:g}, but {limit} is nearly black for this model ({span[0]:g} to"
        f" {span[1]:g}); if they are in 0 to {limit}, convert them"
    )


def _in_other_units(images: NDArray[np.generic], span: Span) -> bool:
    """Return whether pixels are clearly in other units than those that gave the span.

    Types that have a range must have this one. Numbers of other types must lie within fifty spans of it. The range of
    bytes comes from whole numbers, so fractions from 0 to 1 do not belong to it.
    """
    if natural_span(images.dtype.name) not in (None, span):
        return True
    low, high, width = float(images.min()), float(images.max()), span[1] - span[0]
    if low < span[0] - FAR * width or high > span[1] + FAR * width:
        return True
    if span != BYTES or images.dtype.kind != "f" or not 0 < high <= 1:
        return False
    return bool((images != np.floor(images)).any())


def to_ids(masks: NDArray[np.generic], what: str) -> NDArray[np.uint8]:
    """Return masks as uint8 ids.

    Args:
        masks: one mask (h, w), or masks (n, h, w), whose number is added to the message.
        what: name of the masks, for messages.

    Raises:
        EnsError: when a value is no whole number from 0 to 255.
    """
    if masks.dtype == np.uint8:
        return masks.astype(np.uint8, copy=False)
    if masks.dtype.kind not in "fiub":
        raise EnsError(f"expected mask values that are whole numbers 0..255 in {what}, got {masks.dtype}")
    with np.errstate(invalid="ignore"):
        ids = masks.astype(np.uint8, casting="unsafe")
    wrong = ids != masks
    if wrong.any():
        bad = ", ".join(str(value) for value in np.unique(masks[wrong])[:3].tolist())
        where = f" (row {int(np.nonzero(wrong)[0][0])})" if masks.ndim == 3 else ""
        raise EnsError(f"expected mask values that are whole numbers 0..255 in {what}{where}, got values such as {bad}")
    return ids
