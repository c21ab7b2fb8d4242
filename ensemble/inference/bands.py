"""Give images the bands that a model was trained on: colours become grey, grey becomes colours, all else is refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.formatting import counted

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601), as Pillow and OpenCV compute it."""


def check_bands(found: int, expected: int, what: str, model: str) -> None:
    """Check that an image has the bands of a model, or bands that can be converted.

    Raises:
        EnsError: it has others; the text names the image.
    """
    if found != expected and {found, expected} != {1, 3}:
        also = {1: " (or 3 colours, which become grey)", 3: " (or 1, which becomes 3 equal ones)"}.get(expected, "")
        raise EnsError(
            f"expected {expected} band{'s' * (expected > 1)}{also} for {model}, got {found} in {what}; convert this"
            " image, or leave it out"
        )


def with_bands(image_hwc: NDArray[np.generic], bands: int) -> NDArray[np.generic]:
    """Return an image with ``bands`` bands, in its type; see `check_bands` for what can be converted.

    >>> with_bands(np.array([[[255, 0, 0]]], np.uint8), 1).tolist()
    [[[76]]]
    """
    if image_hwc.shape[2] == bands:
        return image_hwc
    if bands == 3:
        return np.repeat(image_hwc, 3, axis=2)
    grey = (image_hwc.astype(np.float64) @ np.array(LUMA))[..., None]
    return (np.rint(grey) if image_hwc.dtype.kind in "iu" else grey).astype(image_hwc.dtype)


def conversion_note(names: list[str], bands: int) -> str | None:
    """Return a sentence about the images that are converted, or None if there is no such image."""
    if not names:
        return None
    how = (
        f"grey is made of their colours ({LUMA[0]} R + {LUMA[1]} G + {LUMA[2]} B)"
        if bands == 1
        else "their grey is used for red, green and blue"
    )
    kinds = ("grey", "colour") if bands == 1 else ("colour", "grey")
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    what = counted(len(names), f"{kinds[1]} image")
    return f"this model knows {kinds[0]} images, but got {what} ({shown}): {how}"
