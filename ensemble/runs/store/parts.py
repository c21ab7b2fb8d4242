"""Plan how images of any size are read in bounded memory: several small ones at once, a large one strip after strip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ensemble.evaluation.strips import Strip
from ensemble.runs.store.chunks import Size


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some images of one size, or a strip of rows of one image.

    Attributes:
        images: the images, ascending.
        size: height and width of each image.
        top: first row of the strip; 0 for whole images.
        bottom: row after the strip; the height for whole images.
        halo: rows above and below a strip that are read in addition, as far as the image has them.
    """

    images: Sequence[int]
    size: Size
    top: int
    bottom: int
    halo: int = 0

    @property
    def first(self) -> int:
        """First row that is read."""
        return max(0, self.top - self.halo)

    @property
    def last(self) -> int:
        """Row after those that are read."""
        return min(self.size[0], self.bottom + self.halo)

    @property
    def inside(self) -> slice:
        """The rows of the strip among those that are read."""
        return slice(self.top - self.first, self.bottom - self.first)

    @property
    def strip(self) -> Strip | None:
        """Where the strip lies; None for whole images."""
        return None if self.bottom - self.top == self.size[0] else Strip(self.top, self.size[0])


def parts_of(
    sizes: Sequence[Size], images: Iterable[int], *, pixels: int, most: int | None = None, halo: int = 0
) -> Iterator[Part]:
    """Yield the parts in which images are read, in their order.

    Args:
        sizes: height and width of every image.
        images: the images to read, ascending.
        pixels: largest number of pixels of a part, its halo included; an image with more is cut into strips. They have
            at least as many rows as the halo, even if that makes more pixels.
        most: largest number of images of a part (default: any).
        halo: rows around a strip.

    >>> [(list(part.images), part.top, part.bottom) for part in parts_of([(2, 2), (2, 2), (5, 2)], range(3), pixels=8)]
    [([0, 1], 0, 2), ([2], 0, 4), ([2], 4, 5)]
    """
    for (height, width), group in groupby(images, key=sizes.__getitem__):
        chosen = list(group)
        if height * width <= pixels:
            count = min(most or len(chosen), pixels // (height * width))
            for start in range(0, len(chosen), count):
                yield Part(images=chosen[start : start + count], size=(height, width), top=0, bottom=height)
        else:
            rows = max(halo, 1, pixels // width - 2 * halo)  # at least a third of what is read is wanted
            for image in chosen:
                for top in range(0, height, rows):
                    bottom = min(top + rows, height)
                    yield Part(images=[image], size=(height, width), top=top, bottom=bottom, halo=halo)
