"""A large image that a member sees as a whole: shrunk block by block, predicted once, and enlarged tile by tile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ensemble.inference.tiles import Span

BLOCK = 256  # rows that are read at once
Rows = Callable[[int, int], NDArray[Any]]
"""Returns the rows (rows, w, bands) of an image from a first one to the one after the last."""


@dataclass(frozen=True, eq=False)
class LowResolution:
    """Probabilities of a whole image at another size, of which windows of native pixels are made.

    Their logarithms are interpolated. This gives what a network gives that resizes its logits to native pixels.

    Attributes:
        logs_khw: logarithms of the probabilities.
        native: height and width of the image.
    """

    logs_khw: NDArray[np.float32]
    native: tuple[int, int]

    @classmethod
    def of(cls, probs_khw: NDArray[np.float32], native: tuple[int, int]) -> LowResolution:
        """Keep the probabilities of an image of this native height and width."""
        return cls(np.log(np.maximum(probs_khw, np.float32(1e-12))), native)

    def window(self, rows: Span, columns: Span) -> NDArray[np.float32]:
        """Return the probabilities (classes, h, w) of a window."""
        low, high, share = self._places(rows, 0)
        logs = self.logs_khw[:, low] * (1 - share)[:, None] + self.logs_khw[:, high] * share[:, None]
        low, high, share = self._places(columns, 1)
        logs = logs[..., low] * (1 - share) + logs[..., high] * share
        weights = np.exp(logs - logs.max(0))
        return weights / weights.sum(0)

    def _places(self, span: Span, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return the two pixels between which each native pixel lies, and the share of the second one."""
        last = self.logs_khw.shape[1 + axis] - 1
        places = ((np.arange(*span) + 0.5) * (last + 1) / self.native[axis] - 0.5).clip(0, last)
        low = np.floor(places).astype(np.int64)
        return low, np.minimum(low + 1, last), (places - low).astype(np.float32)


def shrunk(read: Rows, native: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return an image (h, w, bands) in 0..1 resized as `torch.nn.functional.interpolate` does it with antialiasing.

    Each pixel is the weighted mean of the pixels around its place; the weight falls from there as a triangle does.

    Args:
        read: returns rows of the image, as uint8 or in 0..1.
        native: its height and width.
        size: height and width of the result.
    """
    ratio = native[0] / size[0]
    support = max(1.0, ratio)
    centres = (np.arange(size[0]) + 0.5) * ratio
    sums, weights_h = None, np.zeros(size[0])
    for first in range(0, native[0], BLOCK):
        end = min(first + BLOCK, native[0])
        rows = slice(*np.searchsorted(centres, (first - support, end + support)))
        places = np.arange(first, end) + 0.5
        weights = (1 - np.abs(places - centres[rows, None]) / support).clip(0)
        narrow = _narrowed(read(first, end), size[1])
        if sums is None:
            sums = np.zeros((*size, narrow.shape[2]))
        sums[rows] += np.tensordot(weights, narrow, 1)
        weights_h[rows] += weights.sum(1)
    assert sums is not None, "an image has rows"
    return (sums / weights_h[:, None, None]).astype(np.float32)


def _narrowed(rows_hwc: NDArray[Any], width: int) -> NDArray[np.float32]:
    unit = rows_hwc.astype(np.float32)
    if rows_hwc.dtype == np.uint8:
        unit /= np.float32(255)
    narrow = F.interpolate(
        torch.from_numpy(unit).permute(2, 0, 1)[None], (len(unit), width), mode="bilinear", antialias=True
    )
    return narrow[0].permute(1, 2, 0).numpy()
