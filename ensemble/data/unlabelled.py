"""A data set with further images behind its own that have no labels: every pixel of them is void."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.core.threads import in_threads
from ensemble.core.void import VOID
from ensemble.data.dataset import Dataset
from ensemble.data.formats.source import Source
from ensemble.data.pixel_file import Bounds


@dataclass(frozen=True, eq=False)
class UnlabelledImages:
    """Images that a student learns from without labels.

    Attributes:
        ids: their names.
        sizes: height and width of each.
        read: returns one of them (h, w, bands) by its number, as the data set gives images.
    """

    ids: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    read: Callable[[int], NDArray[np.generic]]


def with_unlabelled(dataset: Dataset, images: UnlabelledImages) -> Dataset:
    """Return the data set with unlabelled images behind its own.

    Args:
        dataset: the labelled images, whose rows stay.
        images: images with the same bands and units.
    """
    if not images.ids:
        return dataset
    nothing = int(np.flatnonzero(dataset.to_label == VOID)[0])
    counts_ni = np.concatenate([dataset.counts_ni, np.zeros((len(images.ids), 256), np.int64)])
    source = cast(Source, _Extended(dataset.source, images, nothing))
    return replace(dataset, source=source, counts_ni=counts_ni)


@dataclass(frozen=True, eq=False)
class _Extended:
    """A source with unlabelled images behind its labelled ones."""

    source: Source
    more: UnlabelledImages
    nothing: int  # the id of pixels without a label

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    @property
    def ids(self) -> tuple[str, ...]:
        return (*self.source.ids, *self.more.ids)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        return (*self.source.sizes, *self.more.sizes)

    def image(self, row: int) -> NDArray[np.generic]:
        first = len(self.source.ids)
        return self.source.image(row) if row < first else self.more.read(row - first)

    def mask(self, row: int) -> NDArray[np.uint8]:
        if row < len(self.source.ids):
            return self.source.mask(row)
        return np.full(self.sizes[row], self.nothing, np.uint8)

    def images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        return np.stack(in_threads(self.image, rows))

    def masks(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        return np.stack([self.mask(row) for row in rows])

    def window(self, row: int, rows: Bounds, columns: Bounds) -> NDArray[np.generic]:
        if row < len(self.source.ids):
            return self.source.window(row, rows, columns)
        return self.image(row)[slice(*rows), slice(*columns)]

    def mask_window(self, row: int, rows: Bounds, columns: Bounds) -> NDArray[np.uint8]:
        if row < len(self.source.ids):
            return self.source.mask_window(row, rows, columns)
        return np.full((rows[1] - rows[0], columns[1] - columns[0]), self.nothing, np.uint8)
