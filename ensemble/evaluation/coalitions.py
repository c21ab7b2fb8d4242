"""Score subsets of the members on a fixed sample of pixels, in exact integer arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.confusion import Floats, class_counts, iou_of, with_mean
from ensemble.evaluation.image import highest

ONE = 1 << 20  # probabilities as integers: sums of up to 2,047 members are exact, whatever their order
MOST_MEMBERS = 62  # bits of an int64


class Coalitions:
    """Score the uniform averages of subsets of the members on a sample of labelled pixels.

    A subset is a number; its bit m is 1 if member m belongs to it. The empty subset decides for the most frequent class
    everywhere. Intersections and unions are kept per block of image groups, so that any resample of the blocks can be
    scored from them. Among equal probabilities, the first class is decided.

    Args:
        probs_mcp: probabilities (members, classes, pixels).
        labels_p: true classes.
        weights_p: number of pixels that each pixel represents; equal within a class.
        blocks_p: block of each pixel, numbered from 0.

    Raises:
        EnsError: shapes that do not fit, no pixel, or more than 62 members.
    """

    def __init__(
        self,
        probs_mcp: NDArray[np.floating[Any]],
        labels_p: NDArray[np.integer[Any]],
        weights_p: Floats,
        blocks_p: NDArray[np.integer[Any]],
    ) -> None:
        self.members, self.classes, pixels = probs_mcp.shape
        if self.members > MOST_MEMBERS:
            raise EnsError(f"expected at most {MOST_MEMBERS} members, got {self.members}; combine fewer")
        if not pixels or {labels_p.shape, weights_p.shape, blocks_p.shape} != {(pixels,)}:
            raise EnsError(
                f"expected a label, weight and block for each of {pixels} pixels (one or more), got shapes"
                f" {labels_p.shape}, {weights_p.shape} and {blocks_p.shape}"
            )
        self.full = (1 << self.members) - 1
        self.blocks = int(blocks_p.max()) + 1
        counts_k = np.bincount(labels_p, minlength=self.classes)
        totals_k = np.bincount(labels_p, weights_p, minlength=self.classes)
        self._majority = int(totals_k.argmax())
        self._weights_k = totals_k / np.maximum(1, counts_k)
        self._codes_mcp = np.rint(probs_mcp * ONE).astype(np.int32)
        self._cells_p = (blocks_p.astype(np.int64) * self.classes + labels_p) * self.classes
        self._sum_cp, self._summed = np.zeros((self.classes, pixels), np.int32), 0
        self._tables: dict[int, NDArray[np.float32]] = {}

    def measure(self, subsets: Iterable[int], progress: Progress = no_progress) -> None:
        """Score the subsets that were not scored before; this is fastest if neighbours differ by one member."""
        todo = [subset for subset in subsets if subset not in self._tables]
        for done, subset in enumerate(todo, 1):
            if subset not in self._tables:
                self._tables[subset] = self._score(subset)
            progress("scoring subsets of members", done, len(todo))

    def values(self, subsets: Sequence[int], bootstrap: Bootstrap | None = None) -> Floats:
        """Return mIoU and IoU per class: (subsets, 1 + classes), or (resamples, subsets, 1 + classes).

        Classes without a labelled pixel are NaN and left out of the mean.
        """
        self.measure(subsets)
        tables_bs3k = np.stack([self._tables[subset] for subset in subsets], axis=1)
        sums = tables_bs3k.sum(0, dtype=np.float64) if bootstrap is None else bootstrap.totals(tables_bs3k)
        return with_mean(iou_of(sums))

    def _score(self, subset: int) -> NDArray[np.float32]:
        """Return intersection, union and true pixels (blocks, 3, classes) of one subset."""
        for member in range(self.members):
            if (subset ^ self._summed) >> member & 1:
                step = np.add if subset >> member & 1 else np.subtract
                step(self._sum_cp, self._codes_mcp[member], out=self._sum_cp)
        self._summed = subset
        decided_p = highest(self._sum_cp)[1] if subset else self._majority
        size = self.blocks * self.classes**2
        counts = np.bincount(self._cells_p + decided_p, minlength=size).reshape(-1, self.classes, self.classes)
        confusion_bkk = counts * self._weights_k[:, None]
        return class_counts(confusion_bkk).astype(np.float32)
