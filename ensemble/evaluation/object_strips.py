"""Count the objects of a large image whose rows come strip after strip, exactly as if it came whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.objects import SIZES, Runs, count_objects
from ensemble.evaluation.void import VOID, decided, labelled

MOST_RUNS = 2**23
"""Runs of the most ragged image whose objects are counted; their counting takes about a gigabyte of memory."""


class StripObjects:
    """Keep the rows of an image as runs of one class, and count its objects when all rows are there.

    Memory grows with the number of runs, not of pixels. An image of more than `MOST_RUNS` runs is noise; its objects
    are not counted.

    Args:
        height: rows of the image.
        width: columns of the image.
        classes: number of classes.

    >>> labels, predictions = np.array([[[1, 1, 0], [0, 1, 0]]]), np.array([[[1, 1, 0], [1, 0, 0]]])
    >>> strips = StripObjects(2, 3, classes=2)
    >>> strips.add(labels[:, :1], predictions[:, :1], top=0).sum()
    np.int64(0)
    >>> strips.add(labels[:, 1:], predictions[:, 1:], top=1).sum((0, 2)).tolist()
    [[1, 1, 1, 2], [1, 1, 1, 1]]
    """

    def __init__(self, height: int, width: int, classes: int) -> None:
        self.height, self.width, self.classes = height, width, classes
        self._runs: tuple[list[Runs], list[Runs]] = ([], [])
        self._added = 0

    @property
    def runs_held(self) -> int:
        """Number of runs in memory."""
        return sum(len(runs.starts) for kept in self._runs for runs in kept)

    def add(
        self, labels_nhw: NDArray[np.integer[Any]], predictions_nhw: NDArray[np.integer[Any]], top: int
    ) -> NDArray[np.int64]:
        """Add the next strip, and return the counts (1, classes, sizes, 4) after the last one, zeros before.

        Args:
            labels_nhw: labels (1, rows, width) with void 255.
            predictions_nhw: predictions of the same shape.
            top: first row of the strip.

        Raises:
            EnsError: see `object_counts`.
        """
        known_nhw = labelled(labels_nhw, self.classes)
        guess_nhw = np.where(known_nhw, decided(predictions_nhw, known_nhw, self.classes), VOID)
        for kept, classes_nhw in zip(self._runs, (labels_nhw, guess_nhw), strict=True):
            starts, values = Runs.of(classes_nhw)
            self._added += len(starts)
            if self._added <= MOST_RUNS:
                kept.append(Runs(starts + top * self.width, values))
            else:
                kept.clear()
        if top + labels_nhw.shape[1] < self.height or self._added > MOST_RUNS:
            return np.zeros((1, self.classes, len(SIZES), 4), np.int64)
        true, guess = (Runs(*map(np.concatenate, zip(*kept, strict=True))) for kept in self._runs)
        return count_objects(true, guess, (1, self.height, self.width), self.classes)
