"""Split successive images into batches of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

WHOLE_PIXELS = 1 << 20  # larger images are predicted in tiles


def equal_sizes(sizes: Sequence[tuple[Any, ...]], most: int, pixels: int) -> Iterator[range]:
    """Yield ranges of successive rows whose sizes are equal, of at most ``most`` images and ``pixels`` pixels.

    Args:
        sizes: height, width and what else must agree, of each image.
        most: images of a range.
        pixels: pixels of a range; a larger image is alone.

    >>> list(equal_sizes([(8, 8), (8, 8), (8, 9)], 32, 1000))
    [range(0, 2), range(2, 3)]
    """
    start = 0
    while start < len(sizes):
        height, width, *_ = sizes[start]
        end = min(len(sizes), start + max(1, min(most, pixels // (height * width))))
        stop = start + 1
        while stop < end and sizes[stop] == sizes[start]:
            stop += 1
        yield range(start, stop)
        start = stop
