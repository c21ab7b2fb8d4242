"""Draw the outline of an object of COCO's JSON: polygons, or runs of pixels."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_library

from ensemble.core.reading import check_memory
from ensemble.data.formats.runs_of_pixels import from_counts, from_text


def mask_of(outline: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask (h, w) of one object.

    Args:
        outline: a list of polygons, each ``[x1, y1, x2, y2, ...]`` in pixels; or the height and width of the image as
            ``size`` and the runs as ``counts``, column by column, as numbers or as COCO's text.
        height, width: size of the image.

    Raises:
        ValueError: it is damaged, of another size, or lies outside of the image.

    >>> mask_of({"size": [2, 2], "counts": [1, 2, 1]}, 2, 2).astype(int).tolist()
    [[0, 1], [1, 0]]
    """
    if isinstance(outline, dict):
        runs = cast("dict[str, Any]", outline)
        if runs.get("size") != [height, width]:
            raise ValueError(f"its runs are for the size {runs.get('size')}, the image is [{height}, {width}]")
        counts = runs.get("counts")
        if isinstance(counts, str):
            return from_counts(from_text(counts), height, width)
        if not isinstance(counts, list) or not all(
            type(count) is int and 0 <= count <= height * width for count in cast("list[Any]", counts)
        ):
            raise ValueError("it has no list of runs")
        return from_counts(np.array(counts, np.int64), height, width)
    drawn = _polygons(outline, height, width)
    library: Any = coco_library  # its stubs do not know polygons
    merged = library.merge(library.frPyObjects(drawn, height, width))
    return from_counts(from_text(merged["counts"].decode()), height, width)


def _polygons(outline: Any, height: int, width: int) -> list[list[float]]:
    """Return polygons of at least three points; others have no area."""
    flat = isinstance(outline, list) and all(isinstance(each, int | float) for each in cast("list[Any]", outline))
    lists = [outline] if flat else outline
    if not isinstance(lists, list):
        raise ValueError("it is neither a list of polygons nor runs")
    drawn: list[list[float]] = []
    for each in cast("list[Any]", lists):
        if not isinstance(each, list) or len(cast("list[Any]", each)) % 2:
            raise ValueError("a polygon is no list of x and y")
        numbers = cast("list[Any]", each)
        if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
            raise ValueError("a polygon holds other things than finite numbers")
        if len(numbers) >= 6:
            drawn.append([float(number) for number in numbers])
    if not drawn:
        raise ValueError("it has no polygon of three points or more")
    points = [np.array(each).reshape(-1, 2) for each in drawn]
    every = np.concatenate(points)
    low, high = every.min(0), every.max(0)
    if low[0] >= width or low[1] >= height or high[0] <= 0 or high[1] <= 0:
        raise ValueError(f"its polygon lies outside of the image {height}x{width}")
    if low.min() < -4 * max(height, width) or high.max() > 5 * max(height, width):
        raise ValueError(f"its polygon reaches to {high.max():g}, far outside of the image {height}x{width}")
    steps = sum(float(np.abs(np.diff(each, axis=0, append=each[:1])).max(1).sum()) for each in points)
    check_memory(int(160 * steps), "a polygon")
    return drawn
