"""Which images are predicted at once: those of one size, as many as the memory allows; large ones in tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ensemble.core.equal_sizes import WHOLE_PIXELS, equal_sizes

BATCH = 32
BATCH_PIXELS = 1 << 22
Size = tuple[int, int]
"""Height and width."""


def is_tiled(size: Size) -> bool:
    """Return whether an image of this height and width is predicted in tiles."""
    return size[0] * size[1] > WHOLE_PIXELS


def batches(heads: Sequence[tuple[Any, ...]], batch: int = BATCH) -> Iterator[range]:
    """Yield the numbers of successive images that are predicted at once.

    Args:
        heads: height, width and what else must agree, of each image.
        batch: the largest number of images.
    """
    return equal_sizes(heads, batch, BATCH_PIXELS)


def largest_batch(sizes: Sequence[Size], batch: int = BATCH) -> int:
    """Return the pixels of the largest batch; of a tiled image, those of a large tile."""
    pixels = {size[0] * size[1] for size in sizes}
    most = min(batch, len(sizes))
    return max(
        min(most, max(1, BATCH_PIXELS // area)) * area if area <= WHOLE_PIXELS else WHOLE_PIXELS for area in pixels
    )
