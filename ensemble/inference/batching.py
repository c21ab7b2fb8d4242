"""Which images are predicted at once: those of one size, as many as the memory allows; large ones in tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ensemble.data.dataset import equal_sizes

BATCH = 32
BATCH_PIXELS = 1 << 22
WHOLE_PIXELS = 1 << 20  # larger images are predicted in tiles
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
