"""Count the boundaries of a large image whose rows come strip after strip, exactly as if it came whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.boundary import count_boundaries, default_distance
from ensemble.evaluation.void import decided, labelled

FEWEST_ROWS = 64  # rows that are counted at once, unless the distance asks for more


class StripBoundary:
    """Holds the rows that later strips may still match, and counts a row when all rows that it may match are known.

    Args:
        height: rows of the image.
        width: columns of the image.
        classes: number of classes.

    >>> labels, predictions = np.array([[[0, 0, 0, 1, 1, 255]]]), np.array([[[0, 0, 1, 1, 1, 0]]])
    >>> StripBoundary(1, 6, classes=2).add(labels, predictions, top=0).tolist()
    [[[1, 1, 1, 1], [1, 1, 1, 1]]]
    """

    def __init__(self, height: int, width: int, classes: int) -> None:
        self.height, self.classes = height, classes
        self._reach = default_distance(height, width)
        self._around = int(self._reach) + 1  # one row more: a boundary pixel differs from a neighbour
        self._labels: list[NDArray[np.uint8]] = []
        self._guess: list[NDArray[np.uint8]] = []
        self._first = self._counted = self._added = 0

    @property
    def rows_held(self) -> int:
        """Number of rows in memory."""
        return self._added - self._first

    def add(
        self, labels_nhw: NDArray[np.integer[Any]], predictions_nhw: NDArray[np.integer[Any]], top: int
    ) -> NDArray[np.int64]:
        """Return the counts (1, classes, 4) of the rows that the next strip of the image completes.

        Args:
            labels_nhw: labels (1, rows, width) with void 255.
            predictions_nhw: predictions of the same shape.
            top: first row of the strip.

        Raises:
            EnsError: see `boundary_counts`.
        """
        assert top == self._added, f"expected the strip from row {self._added}, got that from row {top}"
        known_nhw = labelled(labels_nhw, self.classes)
        self._labels.append(labels_nhw.astype(np.uint8, copy=False))
        self._guess.append(decided(predictions_nhw, known_nhw, self.classes).astype(np.uint8))
        self._added += labels_nhw.shape[1]
        whole = self._added == self.height
        stop = self._added if whole else self._added - self._around
        # Rows around a block are looked at twice, so a block is at least as high as they are.
        if not whole and stop - self._counted < max(FEWEST_ROWS, 2 * self._around):
            return np.zeros((1, self.classes, 4), np.int64)
        return self._count(stop)

    def _count(self, stop: int) -> NDArray[np.int64]:
        labels_nhw, guess_nhw = (np.concatenate(parts, axis=1) for parts in (self._labels, self._guess))
        inside = slice(self._counted - self._first, stop - self._first)
        known_nhw = labelled(labels_nhw, self.classes)
        counts = count_boundaries(labels_nhw, guess_nhw, known_nhw, self.classes, self._reach, inside)
        self._counted, first = stop, max(0, stop - self._around)
        self._labels, self._guess = ([each[:, first - self._first :].copy()] for each in (labels_nhw, guess_nhw))
        self._first = first
        return counts
