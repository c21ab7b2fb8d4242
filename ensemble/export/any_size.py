"""Resizing and pooling as products with matrices: one graph does them for images of any height and width.

torch decides by the numbers of pixels what it does; in a graph these are symbols. A bilinear resizing is a product with
one matrix for the rows and one for the columns, whose numbers follow from the symbols without a decision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from ensemble.inference.resizing import SMALLEST, Resizing


def average_cells(maps_nchw: Tensor, cells: Sequence[int]) -> Tensor:
    """Return the means of a grid of cells, as ``torch.nn.functional.adaptive_avg_pool2d``.

    Args:
        maps_nchw: maps of any size.
        cells: number of cells in a column and in a row.

    >>> average_cells(torch.tensor([[[[1.0, 2.0, 6.0]]]]), (1, 2)).tolist()  # the cells share the middle one
    [[[[1.5, 4.0]]]]
    """
    if tuple(cells) == (1, 1):
        return maps_nchw.mean((2, 3), keepdim=True)
    height, width = maps_nchw.shape[2:]
    rows, columns = (_cells(side, count, maps_nchw.dtype) for side, count in zip((height, width), cells, strict=True))
    return rows @ maps_nchw @ columns.mT


def _cells(side: int, count: int, dtype: torch.dtype) -> Tensor:
    """Return (cells, side): row i holds 1 / length from ``floor(i side / cells)`` to ``ceil((i + 1) side / cells)``."""
    cell, place = torch.arange(count)[:, None], torch.arange(side)[None]
    first, end = cell * side // count, ((cell + 1) * side + count - 1) // count
    return ((place >= first) & (place < end)).to(dtype) / (end - first).to(dtype)


def seen(resizing: Resizing, images_nchw: Tensor) -> Tensor:
    """Return what a network sees, as ``Resizing.of``."""
    height, width = images_nchw.shape[2:]
    if resizing.size is not None:
        fitted = _fitted(resizing.size, height, width)
        sides = zip(resizing.size, fitted, (height, width), strict=True)
        rows, columns = (
            _bilinear(torch.arange(size).clamp(max=fit - 1), side / fit, side, shrinks=True)
            for size, fit, side in sides
        )
        return rows @ images_nchw @ columns.mT
    if resizing.fraction == 1:
        return images_nchw
    for axis in (2, 3):
        side = images_nchw.shape[axis]
        places = torch.arange(_padded(resizing, side)).clamp(max=side - 1)
        images_nchw = images_nchw.index_select(axis, places)
    rows, columns = (_by_scale(resizing, side, back=False) for side in (height, width))
    return rows @ images_nchw @ columns.mT


def unseen(resizing: Resizing, maps_nchw: Tensor, height: int, width: int) -> Tensor:
    """Return outputs for what a network saw as outputs for the native height and width, as ``Resizing.undo``."""
    if resizing.size is not None:
        fitted = _fitted(resizing.size, height, width)
        sides = zip(resizing.size, fitted, (height, width), strict=True)
        rows, columns = (
            _bilinear(torch.arange(side), fit / side, size, shrinks=False, within=fit) for size, fit, side in sides
        )
        return rows @ maps_nchw @ columns.mT
    if resizing.fraction == 1:
        return maps_nchw
    rows, columns = (_by_scale(resizing, side, back=True) for side in (height, width))
    return (rows @ maps_nchw @ columns.mT)[..., :height, :width]


def _fitted(size: tuple[int, int], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return height and width of an image that is made to fit in a size, as ``Resizing.fitted``."""
    native = [torch.full((), side, dtype=torch.float64) for side in (height, width)]
    scale = torch.minimum(size[0] / native[0], size[1] / native[1])
    rows, columns = (
        (side * scale).round().clamp(max=most).clamp(min=SMALLEST) for side, most in zip(native, size, strict=True)
    )
    return rows, columns


def _by_scale(resizing: Resizing, side: int, *, back: bool) -> Tensor:
    fraction, padded = resizing.fraction, _padded(resizing, side)
    scaled = padded // fraction.denominator * fraction.numerator
    if back:
        return _bilinear(torch.arange(padded), float(fraction), scaled, shrinks=False)
    return _bilinear(torch.arange(scaled), float(1 / fraction), padded, shrinks=fraction < 1)


def _padded(resizing: Resizing, side: int) -> int:
    """Return a side continued to a multiple of the denominator of the scale, which gives two pixels or more."""
    denominator = resizing.fraction.denominator
    least = math.ceil(SMALLEST / resizing.fraction)
    return (cast(int, torch.sym_max(side, least)) + denominator - 1) // denominator * denominator


def _bilinear(
    places_i: Tensor, step: Tensor | float, side: int, *, shrinks: bool, within: Tensor | None = None
) -> Tensor:
    """Return the weights (i, side) of the pixels of a row, as ``torch.nn.functional.interpolate`` has them.

    Pixel i looks at the place ``c = (i + 1/2) step``. Pixel j has the weight ``max(0, 1 - |j + 1/2 - c| / s)``, divided
    by the sum of the weights, with s = 1, or with antialiasing ``max(1, step)``.

    Args:
        places_i: pixels of the result.
        step: pixels of the row for each pixel of the result.
        side: pixels of the row.
        shrinks: whether there is antialiasing.
        within: number of pixels at the beginning of the row that have a weight; None for all.
    """
    step = torch.as_tensor(step, dtype=torch.float64)
    reach = step.clamp(min=1) if shrinks else torch.ones((), dtype=torch.float64)
    place_j = torch.arange(side)[None].double()
    weights = (1 - (place_j + 0.5 - (places_i[:, None].double() + 0.5) * step).abs() / reach).clamp(min=0)
    if within is not None:
        weights = weights * (place_j < within).double()
    return (weights / weights.sum(1, keepdim=True)).float()
