"""Members and how they are combined: probabilities of native images of any size, whole or in overlapping tiles."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.cascade import Cascade, Predict
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.strips import Strip
from ensemble.inference.allocator import memory_kept
from ensemble.inference.batching import BATCH, Size, batches, is_tiled
from ensemble.inference.tiles import GRID, LEAST, Tiling, Window, predict_strips, tiling_for

if TYPE_CHECKING:  # torch takes two seconds
    from ensemble.inference.low_resolution import LowResolution, Rows
    from ensemble.inference.member_network import MemberNetwork

LARGEST_TILE = 1 << 10  # pixels of a side


class Piece(NamedTuple):
    """Probabilities of images of one size, or of a strip of one large image.

    Attributes:
        numbers: the images.
        probs_nkhw: their probabilities.
        seconds: time that predicting them took.
        strip: where the strip lies in its image; None if the images are whole.
    """

    numbers: range
    probs_nkhw: NDArray[np.float32]
    seconds: float
    strip: Strip | None = None

    def cut(self, labels_nhw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the labels of what is predicted, from those of the whole images."""
        top = 0 if self.strip is None else self.strip.top
        return labels_nhw[:, top : top + self.probs_nkhw.shape[2]]


@dataclass(frozen=True, eq=False)
class PooledNetworks:
    """The members of an ensemble, or one member: ``of(images) -> probabilities``.

    Attributes:
        members: the members.
        pool: function from their probabilities (m, n, k, h, w) to pooled ones (n, k, h, w). With a `Cascade`, networks
            of later members run only on the images, or on the tiles of large images, that are not sure enough yet.
    """

    members: Sequence[MemberNetwork]
    pool: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    @classmethod
    def of_one(cls, member: MemberNetwork) -> PooledNetworks:
        """Return one member, which nothing is combined with."""
        return cls((member,), lambda probs_mnkhw: probs_mnkhw[0])

    @property
    def device(self) -> str:
        """Device of the networks; the CPU if there are none, because probabilities are stored."""
        return self.members[0].device if self.members else "cpu"

    def of(self, unit_nhwc: NDArray[Any], progress: Progress = no_progress) -> NDArray[np.float32]:
        """Return the probabilities (n, k, h, w) of images as data sets give them: uint8, or float32 in 0..1.

        Images of more than a million pixels are predicted in overlapping tiles, see `ensemble.inference.tiles`.
        """
        height, width = unit_nhwc.shape[1:3]
        if is_tiled((height, width)):
            return np.stack([self._in_tiles(image, progress) for image in unit_nhwc])
        return self.pooled(
            lambda place, rows: self.members[place].of(unit_nhwc[rows]), len(unit_nhwc), len(self.members)
        )

    def pooled(self, predict: Predict, images: int, members: int) -> NDArray[np.float32]:
        """Return the pooled probabilities of images, or of tiles, from those of each member.

        Args:
            predict: returns what a member, given by its place, says of some of the images.
            images: the number of images.
            members: the number of members.
        """
        if isinstance(self.pool, Cascade):
            return self.pool.by_need(predict, images)
        every = np.arange(images)
        return self.pool(np.stack([predict(place, every) for place in range(members)]))

    def pieces(
        self,
        sizes: Sequence[Size],
        images: Callable[[range], NDArray[Any]],
        progress: Progress = no_progress,
        batch: int = BATCH,
    ) -> Iterator[Piece]:
        """Yield the probabilities of images of any sizes in order: in batches of one size, large images strip by strip.

        Args:
            sizes: height and width of each image.
            images: returns successive images of one size (n, h, w, bands) by their numbers.
            progress: callback that receives the progress of large images.
            batch: number of images that are predicted at once, if they are small.
        """
        with memory_kept(self.device):
            for numbers in batches(sizes, batch):
                if is_tiled(sizes[numbers.start]):
                    for number in numbers:
                        yield from self._strips_of(range(number, number + 1), images, progress)
                else:
                    unit_nhwc, start = images(numbers), time.perf_counter()
                    yield Piece(numbers, self.of(unit_nhwc), time.perf_counter() - start)

    def _strips_of(self, number: range, images: Callable[[range], NDArray[Any]], progress: Progress) -> Iterator[Piece]:
        (unit_hwc,) = images(number)
        height, width = unit_hwc.shape[:2]
        top, start = 0, time.perf_counter()
        for strip in self.strips(lambda first, end: unit_hwc[first:end], height, width, progress):
            yield Piece(number, strip[None], time.perf_counter() - start, Strip(top, height))
            top, start = top + strip.shape[1], time.perf_counter()

    def _in_tiles(self, unit_hwc: NDArray[Any], progress: Progress) -> NDArray[np.float32]:
        height, width = unit_hwc.shape[:2]
        strips = self.strips(lambda first, end: unit_hwc[first:end], height, width, progress)
        return np.concatenate(list(strips), axis=1)

    def seen(self, size: Size) -> int:
        """Return how many pixels the networks of all members see of an image of this height and width."""
        if not is_tiled(size):
            return sum(member.seen(size) for member in self.members)
        rows, columns = (Counter(end - first for first, end in self.tiling.spans(length)) for length in size)
        tiles = {tile: rows[tile[0]] * columns[tile[1]] for tile in product(rows, columns)}

        def in_tiles(member: MemberNetwork) -> int:
            return sum(count * member.seen(tile, tiles=True) for tile, count in tiles.items())

        return sum(member.seen(size) if member.resizing.size else in_tiles(member) for member in self.members)

    @cached_property
    def tiling(self) -> Tiling:
        """How large images are cut: so that members of bounded receptive field give what they give for whole images."""
        tiled = [member for member in self.members if member.resizing.size is None]
        reach = max((member.reach for member in tiled if member.reach is not None), default=GRID)
        side = max((member.side for member in tiled if member.reach is None), default=LEAST)
        grid = math.lcm(GRID, *(member.resizing.grid for member in tiled))
        return tiling_for(reach, grid, max(LEAST, min(side, LARGEST_TILE)))

    def strips(
        self, read: Rows, height: int, width: int, progress: Progress = no_progress, skip: int = 0
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the probabilities (k, rows, w) of strips of a large image, from top to bottom.

        A member with an input size predicts the whole image once; its probabilities are enlarged tile by tile. A member
        that looks at whole images without one predicts, within every tile, tiles of the size that it was trained on.

        Args:
            read: returns the rows (rows, w, bands) from a first one to one after the last, as data sets give them.
            height: rows of the image.
            width: columns of the image.
            progress: callback that receives the progress.
            skip: number of strips at the top that are left out, because they are known.
        """
        across = len(self.tiling.spans(width))
        total, done = len(self.tiling.spans(height)) * across, max(0, skip - 1) * across
        rows_of = lru_cache(maxsize=1)(read)

        @cache
        def low(place: int) -> LowResolution | None:
            member = self.members[place]
            return None if member.resizing.size is None else member.low_resolution(read, (height, width))

        def predict(windows: Sequence[Window]) -> NDArray[np.float32]:
            nonlocal done
            tiles = np.stack([rows_of(*rows)[:, slice(*columns)] for rows, columns in windows])

            def of(place: int, rows: NDArray[np.intp]) -> NDArray[np.float32]:
                return _of_windows(self.members[place], low(place), tiles[rows], [windows[row] for row in rows])

            pooled = self.pooled(of, len(windows), len(self.members))
            done += len(windows)
            progress("predicting tiles", done, total)
            return pooled

        with memory_kept(self.device):
            for _, strip in predict_strips(predict, height, width, self.tiling, skip=skip):
                yield strip


def _of_windows(
    member: MemberNetwork, low: LowResolution | None, tiles_nhwc: NDArray[Any], windows: Sequence[Window]
) -> NDArray[np.float32]:
    if low is None:
        return member.of(tiles_nhwc, tiles=True)
    return np.stack([low.window(*window) for window in windows])
