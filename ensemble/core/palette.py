"""Colours of classes: the colour-blind-safe ones of Okabe and Ito (2008), black for void."""

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
        shade = 1.0 - 0.3 * (position // len(OKABE_ITO) % 3)
        table[value] = (np.array(OKABE_ITO[position % len(OKABE_ITO)]) * shade).astype(np.uint8)
    return table
