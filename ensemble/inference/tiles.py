"""Predict an image of any size in overlapping tiles, strip after strip, in memory that the tile decides.

Along a side, tiles begin at multiples of 32 pixels (more if a network sees images at another scale), so that a network
halves them where it would halve the whole image.
Two neighbours share ``2 * margin + ramp`` pixels. The outer ``margin`` pixels of a tile are not used, because a network
does not see there what it would see in the whole image; in the ``ramp`` the weight moves from one tile to the other. So
for a network whose outputs depend on at most ``margin`` pixels around them, the result is that of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

LEAST = 512  # pixels of a side of a tile
GRID = 32  # pixels; networks halve images at most five times

Span = tuple[int, int]
Window = tuple[Span, Span]
"""Rows and columns of a tile, each from the first to the one after the last."""


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into tiles.

    Attributes:
        tile: pixels of a side of a tile, a multiple of the grid.
        margin: pixels along an inner edge that are not used.
        ramp: pixels over which the weight moves from one tile to the next.
        grid: pixels of which tiles and steps are multiples.
    """

    tile: int
    margin: int
    ramp: int = GRID
    grid: int = GRID

    def __post_init__(self) -> None:
        assert self.tile % self.grid == 0, "tiles are multiples of the grid"
        assert self.step >= self.grid, "tiles must be larger than what they share"

    @property
    def step(self) -> int:
        """Pixels from the beginning of a tile to that of the next, a multiple of the grid."""
        return (self.tile - 2 * self.margin - self.ramp) // self.grid * self.grid

    def spans(self, length: int) -> list[Span]:
        """Return the tiles along a side; the last one ends with the image.

        >>> Tiling(tile=128, margin=16).spans(230)
        [(0, 128), (64, 192), (128, 230)]
        """
        starts = [0]
        while starts[-1] + self.tile < length:
            starts.append(starts[-1] + self.step)
        return [(start, min(start + self.tile, length)) for start in starts]

    def pixels(self, size: Sequence[int]) -> int:
        """Return the pixels of all tiles of an image of this height and width.

        >>> Tiling(tile=128, margin=16).pixels((128, 230))  # 128 x 128, 128 x 128 and 128 x 102
        45824
        """
        rows, columns = (sum(end - first for first, end in self.spans(length)) for length in size)
        return rows * columns

    def weights(self, span: Span, length: int) -> NDArray[np.float32]:
        """Return the weight of each pixel of a tile along a side: 0 in the margin, then rising to 1."""
        first, end = span
        places = np.arange(first, end, dtype=np.float32) + np.float32(0.5)
        weights = np.ones(end - first, np.float32)
        if first > 0:
            weights = np.minimum(weights, (places - first - self.margin) / self.ramp)
        if end < length:
            weights = np.minimum(weights, (end - self.margin - places) / self.ramp)
        return weights.clip(0, 1)


def tiling_for(reach: int, grid: int = GRID, least: int = LEAST) -> Tiling:
    """Return tiles for networks of this receptive radius: eight margins wide, which costs about twice the pixels.

    The margin is the radius as a multiple of the grid, because the radius is that of blocks of this size.

    Args:
        reach: the radius in pixels.
        grid: pixels after which all networks treat pixels alike.
        least: smallest side of a tile.

    >>> tiling_for(22).tile, tiling_for(94).tile, tiling_for(22, grid=64).tile
    (512, 768, 512)
    """
    margin = -(-reach // grid) * grid
    side = max(least, 8 * margin, 2 * margin + GRID + grid)
    return Tiling(-(-side // grid) * grid, margin, grid=grid)


def predict_strips(
    predict: Callable[[Sequence[Window]], NDArray[np.float32]],
    height: int,
    width: int,
    tiling: Tiling,
    batch: int = 1,
    skip: int = 0,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the first row and the probabilities (classes, rows, width) of strip after strip, from top to bottom.

    Args:
        predict: returns the probabilities (n, classes, h, w) of windows of one size.
        height: rows of the image.
        width: columns of the image.
        tiling: how it is cut.
        batch: number of windows that are predicted at once.
        skip: number of strips at the top that are known; the others are bit by bit those of a call without it. Only
            for tilings of `tiling_for`, whose tiles overlap with their neighbours and no others.
    """
    rows, columns = tiling.spans(height), tiling.spans(width)
    down = [tiling.weights(span, height) for span in rows]
    across = {span: tiling.weights(span, width) for span in columns}
    sums_x, sums_y = _sums(across.items(), width), _sums(zip(rows, down, strict=True), height)
    begin = max(0, skip - 1) if skip < len(rows) else skip  # a strip depends on its tiles and those above them
    top, held = rows[begin][0] + tiling.margin if 0 < begin < len(rows) else 0, None  # sums of rows not complete yet
    for index, (first, end) in enumerate(rows[begin:], begin):
        skipped = top - first if index else 0  # rows of the margin, whose weight is 0
        for windows in _batches([((first, end), span) for span in columns], batch):
            for (_, (left, right)), probs in zip(windows, predict(windows), strict=True):
                held = _grown(held, len(probs), end - top, width)
                weights = down[index][skipped:, None] * across[left, right]
                held[:, first + skipped - top : end - top, left:right] += probs[:, skipped:] * weights
        assert held is not None
        done = rows[index + 1][0] + tiling.margin if index + 1 < len(rows) else height
        if index >= skip:
            yield top, (held[:, : done - top] / (sums_y[top:done, None] * sums_x)).astype(np.float32, copy=False)
        held, top = held[:, done - top :], done


def _sums(spans: Iterable[tuple[Span, NDArray[np.float32]]], length: int) -> NDArray[np.float32]:
    """Return the sum of the weights of all tiles at each pixel of a side; they meet in the last tiles, too."""
    sums = np.zeros(length, np.float32)
    for (first, end), weights in spans:
        sums[first:end] += weights
    return sums


def _grown(held: NDArray[np.float32] | None, classes: int, rows: int, width: int) -> NDArray[np.float32]:
    """Return the held rows, with zeros below them up to ``rows``."""
    if held is None:
        return np.zeros((classes, rows, width), np.float32)
    return np.pad(held, ((0, 0), (0, rows - held.shape[1]), (0, 0))) if held.shape[1] < rows else held


def _batches(windows: Sequence[Window], batch: int) -> Iterator[list[Window]]:
    """Yield windows of one size together, at most ``batch`` of them."""
    for _, alike in groupby(windows, key=lambda window: window[1][1] - window[1][0]):
        group = list(alike)
        for start in range(0, len(group), batch):
            yield group[start : start + batch]
