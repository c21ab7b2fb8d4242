"""Decode runs of pixels: column by column, as Kaggle's tables and COCO's files write them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BASE, _BITS, _MORE, _SIGN, _LONGEST = 48, 5, 32, 16, 6


def from_counts(counts: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask (h, w) of runs that are outside and inside in turn and begin outside.

    Raises:
        ValueError: the runs do not cover the image exactly.
    """
    if counts.min(initial=0) < 0 or int(counts.sum()) != height * width:
        raise ValueError(f"its runs cover {int(counts.sum())} pixels, but the image {height}x{width} has others")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def from_text(text: str) -> NDArray[np.int64]:
    """Return the runs that COCO writes as a text: five bits a character, differences from the fourth number on.

    pycocotools would read beyond the end of a damaged text, so this is decoded here.

    Raises:
        ValueError: the text is damaged.
    """
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - _BASE
    ends = np.flatnonzero((codes & _MORE) == 0)
    if codes.min(initial=0) < 0 or codes.max(initial=0) > 63 or not ends.size or ends[-1] != len(codes) - 1:
        raise ValueError("its text of runs is damaged")
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if place.max() > _LONGEST:
        raise ValueError("its text of runs is damaged")
    numbers = np.add.reduceat((codes & (_MORE - 1)) << (_BITS * place), starts)
    numbers -= np.where(codes[ends] & _SIGN, 1 << (_BITS * (place[ends] + 1)), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def from_pairs(text: str, height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask (h, w) of ``start length start length ...``; the first pixel is 1.

    Raises:
        ValueError: no pairs of whole numbers, or a run outside of the image.
    """
    words = text.split()
    if len(words) % 2 or not all(word.isascii() and word.isdigit() and len(word) < 12 for word in words):
        raise ValueError("expected pairs 'start length' of whole numbers")
    starts, lengths = np.array(words, np.int64).reshape(-1, 2).T
    if (
        starts.min(initial=1) < 1
        or lengths.min(initial=1) < 1
        or (starts + lengths - 1).max(initial=0) > height * width
    ):
        raise ValueError(f"a run lies outside of the image {height}x{width}, whose pixels are 1 to {height * width}")
    steps = np.zeros(height * width + 1, np.int64)
    np.add.at(steps, starts - 1, 1)
    np.add.at(steps, starts - 1 + lengths, -1)
    return (np.cumsum(steps[:-1]) > 0).reshape(width, height).T
