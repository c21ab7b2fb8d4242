"""Colours of classes: the colour-blind-safe ones of Okabe and Ito (2008), and further ones; void is black."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (0, 114, 178),
    (153, 153, 153),
)
MORE = (
    (0, 0, 255),
    (0, 255, 130),
    (40, 40, 170),
    (85, 85, 0),
    (255, 0, 85),
    (215, 40, 255),
    (0, 255, 255),
    (255, 255, 215),
    (215, 0, 170),
    (85, 40, 85),
    (255, 130, 130),
    (170, 0, 85),
    (130, 215, 85),
    (40, 130, 130),
    (0, 85, 40),
    (85, 130, 0),
)
"""For more than eight classes: each was chosen as far from all before it, and from black, as CIELAB allows, for full
sight and (with less weight) for the most usual colour blindness (deuteranopia after Machado et al., 2009)."""
COLOURS = OKABE_ITO + MORE


def class_colours(values: Sequence[int], given: Sequence[str] = ()) -> NDArray[np.uint8]:
    """Return RGB colours (256, 3) by the data set's own class ids; ids without a class are black.

    Args:
        values: the id of each class, at most 255.
        given: colour ``#rrggbb`` of each class, if the data set has colours.

    >>> class_colours([0, 1], ["#ff0000", "#0000ff"])[:2].tolist()
    [[255, 0, 0], [0, 0, 255]]
    """
    table = np.zeros((256, 3), np.uint8)
    if given:
        table[list(values)] = [list(bytes.fromhex(colour.removeprefix("#"))) for colour in given]
        return table
    for position, value in enumerate(values):
        shade = 1.0 - 0.3 * (position // len(COLOURS) % 3)
        table[value] = (np.array(COLOURS[position % len(COLOURS)]) * shade).astype(np.uint8)
    return table
