"""Convert raw values: pixels to the range 0..1, and mask values to class ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError

Span = tuple[float, float]
BYTES: Span = (0.0, 255.0)
_NATURAL: dict[str, Span] = {"uint8": BYTES, "uint16": (0.0, 65535.0), "bool": (0.0, 1.0)}


def pixel_span(low: float, high: float, dtype: np.dtype[np.generic]) -> Span:
    """Return the raw values that become 0 and 1.

    They are the range of the type. For other types they are 0 and 1 or 0 and 255 if all pixels lie in between, and the
    smallest and largest pixel otherwise.

    Raises:
        EnsError: when a pixel is NaN or infinite.
    """
    if dtype.name in _NATURAL:
        return _NATURAL[dtype.name]
    if not np.isfinite([low, high]).all():
        raise EnsError("expected finite numbers as pixels, got NaN or infinity; fill or drop those images")
    if low >= 0 and high <= 255:
        return (0.0, 1.0) if high <= 1 else BYTES
    return (low, high)


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
    natural = _NATURAL.get(images.dtype.name, span)
    too_small = natural == span and span[1] >= 255 and images.dtype.kind == "f" and 0 < images.max(initial=0) <= 1
    if natural != span or too_small:
        got = f"{images.dtype} in {images.min():g}..{images.max():g}"
        raise EnsError(
            f"expected pixels in the units of the training images, {span[0]:g} to {span[1]:g}, got {got} in {what};"
            " convert them"
        )
    return (images.astype(np.float32) - np.float32(span[0])) / np.float32(span[1] - span[0])


def to_ids(masks: NDArray[np.generic], what: str) -> NDArray[np.uint8]:
    """Return masks as uint8 ids.

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
        raise EnsError(f"expected mask values that are whole numbers 0..255 in {what}, got values such as {bad}")
    return ids
