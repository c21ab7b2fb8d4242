"""Outlines of objects, as polygons and as runs, against pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as library

from ensemble.data.formats.coco_outlines import mask_of

MASK = np.zeros((5, 7), bool)
MASK[1:4, 2:6] = True
ENCODED: Any = library.encode(np.asfortranarray(MASK.astype(np.uint8)))


@pytest.mark.parametrize(
    "outline",
    [
        [[2, 1, 6, 1, 6, 4, 2, 4]],
        [2, 1, 6, 1, 6, 4, 2, 4],
        [[2, 1, 4, 1, 4, 4, 2, 4], [4, 1, 6, 1, 6, 4, 4, 4], [0, 0, 1, 1]],
        {"size": [5, 7], "counts": ENCODED["counts"].decode()},
        {"size": [5, 7], "counts": [11, 3, 2, 3, 2, 3, 2, 3, 6]},
    ],
    ids=["a list of polygons", "one polygon", "two of them and a line", "runs as text", "runs as numbers"],
)
def test_an_outline_is_drawn(outline: Any) -> None:
    np.testing.assert_array_equal(mask_of(outline, 5, 7), MASK)


@pytest.mark.parametrize(
    ("outline", "text"),
    [
        ({"size": [7, 5], "counts": [35]}, r"its runs are for the size \[7, 5\], the image is \[5, 7\]"),
        ({"size": [5, 7], "counts": [1.5]}, "it has no list of runs"),
        ([[2, 1, 6, 1]], "it has no polygon of three points or more"),
        ([[20, 1, 26, 1, 26, 4]], "its polygon lies outside of the image 5x7"),
    ],
)
def test_what_cannot_be_drawn_is_named(outline: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        mask_of(outline, 5, 7)
