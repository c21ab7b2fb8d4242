"""Two classes, one of which is the background: the other one is what people look at."""

from __future__ import annotations

from collections.abc import Sequence

BACKGROUND_ID = 0


def foreground(values: Sequence[int]) -> int | None:
    """Return the position of the foreground among two classes, or None if there are others or none has the id 0.

    Args:
        values: the data set's own id of each class.

    >>> foreground((0, 1)), foreground((0, 255)), foreground((1, 2)), foreground((0, 1, 2))
    (1, 1, None, None)
    """
    if len(values) != 2 or BACKGROUND_ID not in values:
        return None
    return 1 - list(values).index(BACKGROUND_ID)
