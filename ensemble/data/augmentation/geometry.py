"""Augmentations that move pixels and their labels together: mirrors, turns and zooms, each a step by itself."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.void import VOID
from ensemble.data.augmentation.mixing import Change
from ensemble.data.windows import Pairs, TrainingImages

BORDERS = ("void", "mirror")


def hflip() -> Change:
    """Left-right flips, each with probability 1/2; safe for photographs."""
    return lambda images_nhwc, labels_nhw, generator, _: _flip(images_nhwc, labels_nhw, generator, axis=2)


def vflip() -> Change:
    """Up-down flips, each with probability 1/2; for images without an up, such as those from above."""
    return lambda images_nhwc, labels_nhw, generator, _: _flip(images_nhwc, labels_nhw, generator, axis=1)


def _flip(
    images_nhwc: NDArray[np.generic], labels_nhw: NDArray[np.uint8], generator: np.random.Generator, axis: int
) -> Pairs:
    flipped = generator.random(len(labels_nhw)) < 0.5
    images, labels = images_nhwc.copy(), labels_nhw.copy()
    images[flipped], labels[flipped] = np.flip(images_nhwc[flipped], axis), np.flip(labels_nhw[flipped], axis)
    return images, labels


def rotate90() -> Change:
    """Quarter turns, each as likely as none; half turns only where height and width differ."""

    def change(
        images_nhwc: NDArray[np.generic],
        labels_nhw: NDArray[np.uint8],
        generator: np.random.Generator,
        _: TrainingImages,
    ) -> Pairs:
        height, width = labels_nhw.shape[1:]
        turns = generator.choice([0, 1, 2, 3] if height == width else [0, 2], len(labels_nhw)).tolist()
        images, labels = images_nhwc.copy(), labels_nhw.copy()
        for at, quarters in enumerate(turns):
            images[at], labels[at] = np.rot90(images_nhwc[at], quarters), np.rot90(labels_nhw[at], quarters)
        return images, labels

    return change


def scale(*, low: float = 0.75, high: float = 1.5, border: str = "void") -> Change:
    """Zooms by a random factor: a part of the image enlarged, or the image made smaller with a border around it.

    The logarithm of the factor is uniform, and so is the place. Images are interpolated linearly (averaged where they
    become smaller), labels take the nearest pixel.

    Args:
        low: smallest factor, from 0.25; below 1 the image becomes smaller.
        high: largest factor, to 4.
        border: what surrounds an image that became smaller: ``void`` (its mean, without labels) or ``mirror``
            (the image and its labels, mirrored).
    """
    if not 0.25 <= low <= high <= 4:
        raise EnsError(f"expected 0.25 <= low <= high <= 4 for 'scale', got low={low:g}, high={high:g}; change them")
    if border not in BORDERS:
        raise EnsError(f"expected border={' or '.join(BORDERS)} for 'scale', got border={border}; change it")

    def change(
        images_nhwc: NDArray[np.generic],
        labels_nhw: NDArray[np.uint8],
        generator: np.random.Generator,
        _: TrainingImages,
    ) -> Pairs:
        images, labels = images_nhwc.copy(), labels_nhw.copy()
        factors = np.exp(generator.uniform(math.log(low), math.log(high), len(labels)))
        for at, (factor, place) in enumerate(zip(factors, generator.random((len(labels), 2)), strict=True)):
            images[at], labels[at] = zoom(images_nhwc[at], labels_nhw[at], float(factor), place, border)
        return images, labels

    return change


def zoom(
    image_hwc: NDArray[np.generic],
    labels_hw: NDArray[np.uint8],
    factor: float,
    place: NDArray[np.float64],
    border: str,
) -> Pairs:
    """Return an image and its labels zoomed by ``factor``, in the same size.

    Args:
        image_hwc: image of any number of bands.
        labels_hw: its labels.
        factor: above 1 a part of the image is enlarged.
        place: where the part, or the smaller image, lies: 0 (top, left) to 1 (bottom, right).
        border: see :func:`scale`.
    """
    size = labels_hw.shape
    if factor >= 1:
        part = [max(1, round(side / factor)) for side in size]
        first = [round(at * (side - kept)) for at, side, kept in zip(place, size, part, strict=True)]
        window = slice(first[0], first[0] + part[0]), slice(first[1], first[1] + part[1])
        return _resize(image_hwc[window], size, cv2.INTER_LINEAR), _resize(labels_hw[window], size)
    small = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
    image, labels = _resize(image_hwc, small, cv2.INTER_AREA), _resize(labels_hw, small)
    before = [round(at * (side - kept)) for at, side, kept in zip(place, size, small, strict=True)]
    around = [(first, side - kept - first) for first, side, kept in zip(before, size, small, strict=True)]
    if border == "mirror":
        return np.pad(image, [*around, (0, 0)], "symmetric"), np.pad(labels, around, "symmetric")
    whole = np.empty_like(image_hwc)
    whole[:] = image.mean((0, 1)).astype(image.dtype)
    nothing = np.full_like(labels_hw, VOID)
    inside = tuple(slice(first, first + kept) for first, kept in zip(before, small, strict=True))
    whole[inside], nothing[inside] = image, labels
    return whole, nothing


def _resize(
    pixels: NDArray[np.generic], size: tuple[int, ...], interpolation: int = cv2.INTER_NEAREST_EXACT
) -> NDArray[np.uint8]:
    """Return an image (h, w, bands) or labels (h, w) in another size; OpenCV averages four bands at most."""
    bands: Any = pixels.reshape(*pixels.shape[:2], -1)
    parts = [np.ascontiguousarray(bands[..., first : first + 4]) for first in range(0, bands.shape[2], 4)]
    resized: list[Any] = [
        cv2.resize(part, (size[1], size[0]), interpolation=interpolation).reshape(*size, -1) for part in parts
    ]
    return np.concatenate(resized, 2).reshape(*size, *pixels.shape[2:])
