"""What every format gives: a source of raw images and masks. `ArraySource` is the one that is in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ensemble.config import Background
from ensemble.data.formats.pixels import Span


class Source(Protocol):
    """Raw data: images as uint8 or as float32 in 0..1, and masks with the ids of the data set."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Identity of each labelled image."""
        ...

    @property
    def test_ids(self) -> tuple[str, ...]:
        """Identity of each test image."""
        ...

    @property
    def groups(self) -> tuple[str, ...] | None:
        """Group of each labelled image, or None."""
        ...

    @property
    def names(self) -> Mapping[int, str] | None:
        """Class names by id, or None."""
        ...

    @property
    def default_background(self) -> Background:
        """Meaning of class 0, unless the user chooses another one."""
        ...

    @property
    def span(self) -> Span:
        """Raw pixel values that became 0 and 1."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of the content."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is left out or changed when the data are read."""
        ...

    def images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return images (n, h, w, c)."""
        ...

    def masks(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return masks (n, h, w)."""
        ...

    def test_images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return test images (n, h, w, c)."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """Images, masks and test images in memory."""

    images_nhwc: NDArray[np.generic]
    masks_nhw: NDArray[np.uint8]
    test_nhwc: NDArray[np.generic]
    ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    groups: tuple[str, ...] | None
    names: Mapping[int, str] | None
    span: Span
    fingerprint: str
    default_background: Background = "void"
    notes: tuple[str, ...] = ()

    def images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return the images (n, h, w, c) of the given rows."""
        return self.images_nhwc[np.asarray(rows, dtype=np.int64)]

    def masks(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return the masks (n, h, w) of the given rows, with the ids of the data set."""
        return self.masks_nhw[np.asarray(rows, dtype=np.int64)]

    def test_images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return unlabelled test images (n, h, w, c)."""
        return self.test_nhwc[np.asarray(rows, dtype=np.int64)]
