"""Decide which images go into which chunk of a store, from their sizes alone; very large images are cut into strips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

Size = tuple[int, int]  # height and width

# These numbers belong to the format: where an image lies on disk follows from them.
CHUNK_BYTES = 4 << 20  # of codes in a chunk of several images, and in a strip
CHUNK_IMAGES = 64
CUT_BYTES = 16 << 20  # an image with more codes is cut into strips of rows


class Piece(NamedTuple):
    """An image, or a strip of rows of a large one, in a chunk."""

    image: int
    top: int
    height: int
    width: int


def rows_per_strip(classes: int, size: Size) -> int:
    """Return the rows of the strips into which an image is cut; its height if it is not cut."""
    height, width = size
    return height if classes * height * width <= CUT_BYTES else min(height, max(1, CHUNK_BYTES // (classes * width)))


def is_full(images: int, codes: int, more: int) -> bool:
    """Return whether a chunk of some images with some codes has no room for an image with ``more`` codes."""
    return images > 0 and (images == CHUNK_IMAGES or codes + more > CHUNK_BYTES)


def chunks_of(classes: int, sizes: Sequence[Size], cut: bool = True) -> Iterator[tuple[Piece, ...]]:
    """Yield the pieces of every chunk: 1 to 64 images with 4 MB of codes together, or one strip of a large image.

    Args:
        classes: number of classes.
        sizes: height and width of every image.
        cut: whether large images are cut; stores of version 1 keep them whole.
    """
    held, codes = list[Piece](), 0
    for image, (height, width) in enumerate(sizes):
        rows = rows_per_strip(classes, (height, width)) if cut else height
        more = classes * height * width
        if held and (rows < height or is_full(len(held), codes, more)):
            yield tuple(held)
            held, codes = [], 0
        if rows < height:
            for top in range(0, height, rows):
                yield (Piece(image, top, min(rows, height - top), width),)
        else:
            held.append(Piece(image, 0, height, width))
            codes += more
    if held:
        yield tuple(held)
