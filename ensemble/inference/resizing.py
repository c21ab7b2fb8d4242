"""What a network sees of an image: all of it within an input size, or everything by a scale; and the way back.

A network takes native pixels and gives native pixels. In between, images are resized (bilinear, with antialiasing where
they shrink) and continued by their last row and column; its outputs are cut and resized back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from torch import Tensor
from torch.nn import functional as F

from ensemble.inference.tiles import GRID

SMALLEST = 2  # pixels of a side of a resized image: to a width of 1, torch 2.14 interpolates wrongly with antialiasing


@dataclass(frozen=True)
class Resizing:
    """How images are resized before a network, and its outputs after it.

    Attributes:
        size: height and width that whole images are made to fit in, with their aspect kept; None for no such size.
        scale: factor by which images are resized otherwise: a fraction with a small denominator, because tiles are
            resized as the whole image is only if they begin at its multiples.

    >>> Resizing(size=(64, 128)).fitted((100, 100)), Resizing(scale=2).fitted((100, 100))
    ((64, 64), (200, 200))
    """

    size: tuple[int, int] | None = None
    scale: float = 1.0

    @cached_property
    def fraction(self) -> Fraction:
        """The scale as a fraction."""
        return Fraction(self.scale)

    @property
    def grid(self) -> int:
        """Native pixels after which a network that halves images five times treats pixels alike."""
        return GRID if self.size else GRID * self.fraction.denominator

    def fitted(self, native: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the resized image, for those of the native one."""
        height, width = native
        if self.size is None:
            return int(self._padded(height) * self.fraction), int(self._padded(width) * self.fraction)
        scale = min(self.size[0] / height, self.size[1] / width)
        fitted = [min(most, round(side * scale)) for most, side in zip(self.size, native, strict=True)]
        return max(SMALLEST, fitted[0]), max(SMALLEST, fitted[1])

    def of(self, images_nchw: Tensor) -> Tensor:
        """Return what the network sees; within an input size, images are continued to all of it."""
        height, width = images_nchw.shape[2:]
        seen, fitted = images_nchw, self.fitted((height, width))
        if self._changes((height, width)):
            if self.size is None:
                seen = _continued(seen, self._padded(height), self._padded(width))
            shrinks = fitted[0] < seen.shape[2] or fitted[1] < seen.shape[3]
            seen = F.interpolate(seen, fitted, mode="bilinear", antialias=shrinks)
        return seen if self.size is None else _continued(seen, *self.size)

    def undo(self, maps_nchw: Tensor, native: tuple[int, int]) -> Tensor:
        """Return outputs of the network for what it saw as outputs for the native height and width."""
        maps_nchw = _cut(maps_nchw, self.fitted(native))
        if not self._changes(native):
            return maps_nchw
        padded = native if self.size else (self._padded(native[0]), self._padded(native[1]))
        return _cut(F.interpolate(maps_nchw.float(), padded, mode="bilinear"), native)

    def _changes(self, native: tuple[int, int]) -> bool:
        """Return whether an image is resized."""
        return self.fraction != 1 if self.size is None else self.fitted(native) != native

    def _padded(self, side: int) -> int:
        """Return a side continued to a multiple of the denominator of the scale, which gives two pixels or more."""
        least = side if self.fraction == 1 else max(side, math.ceil(SMALLEST / self.fraction))
        return least + -least % self.fraction.denominator


def _continued(images_nchw: Tensor, height: int, width: int) -> Tensor:
    """Return images continued by their last row and column to at least this height and width."""
    down, right = max(0, height - images_nchw.shape[2]), max(0, width - images_nchw.shape[3])
    return F.pad(images_nchw, (0, right, 0, down), mode="replicate") if down or right else images_nchw


def _cut(maps_nchw: Tensor, size: tuple[int, int]) -> Tensor:
    return maps_nchw if maps_nchw.shape[2:] == size else maps_nchw[..., : size[0], : size[1]]
