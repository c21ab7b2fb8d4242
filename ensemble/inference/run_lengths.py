"""Run lengths of masks: column after column, pixels counted from 1, as competitions ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError


def encode(map_hw: NDArray[Any]) -> dict[int, str]:
    """Return the run lengths of every value of a map: ``start length start length ...``.

    Pixels are counted from 1, from top to bottom and then from left to right. A run goes on from the end of a column at
    the top of the next one.

    Args:
        map_hw: ids of classes or numbers of objects (h, w).

    >>> encode(np.array([[1, 0], [1, 1]]))
    {0: '3 1', 1: '1 2 4 1'}
    """
    flat = map_hw.ravel(order="F")
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]])) if flat.size else np.zeros(0, np.intp)
    lengths = np.diff(np.append(starts, flat.size))
    values = flat[starts]
    runs: dict[int, str] = {}
    for value in np.unique(values).tolist():
        chosen = values == value
        pairs = np.stack([starts[chosen] + 1, lengths[chosen]], axis=1)
        runs[int(value)] = " ".join(map(str, pairs.ravel().tolist()))
    return runs


def decode(text: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (h, w) that run lengths describe; the inverse of `encode` for one value.

    Raises:
        EnsError: an odd number of numbers, or runs outside of the image.

    >>> decode("1 2 4 1", (2, 2)).astype(int).tolist()
    [[1, 0], [1, 1]]
    """
    words = text.split()
    numbers = np.array([int(word) if word.isdecimal() else -1 for word in words], np.int64)
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    size = shape[0] * shape[1]
    if len(numbers) % 2 or (numbers < 1).any() or (starts + lengths > size).any():
        raise EnsError(
            f"expected pairs of start and length within {shape[0]}x{shape[1]} pixels, counted from 1, got"
            f" '{text[:40]}'; write them again"
        )
    flat = np.zeros(size, np.bool_)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        flat[start : start + length] = True
    return flat.reshape(shape, order="F")


def objects(mask_hw: NDArray[np.generic], values: Sequence[int]) -> list[tuple[int, str]]:
    """Return class id and run lengths of every object: pixels of one class that touch, also at corners.

    Objects follow class after class, and within a class in the order of their first pixels in the run lengths.

    Args:
        mask_hw: class ids (h, w).
        values: ids of the classes whose objects are wanted.

    >>> objects(np.array([[1, 0, 1], [0, 1, 0], [0, 0, 2]], np.uint8), [1, 2])
    [(1, '1 1 5 1 7 1'), (2, '9 1')]
    """
    found: list[tuple[int, str]] = []
    for value in values:
        one = (mask_hw == value).astype(np.uint8)
        labels = cast(NDArray[np.int32], cv2.connectedComponents(one, connectivity=8)[1])
        texts = [text for label, text in encode(labels).items() if label]
        found += [(value, text) for text in sorted(texts, key=lambda text: int(text.split(" ", 1)[0]))]
    return found
