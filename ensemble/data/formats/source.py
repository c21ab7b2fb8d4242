"""What every format gives: a source of raw images and masks. `ArraySource` is the one that is in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ensemble.config import Background
from ensemble.data.formats.pixels import Span
from ensemble.data.pixel_file import Bounds


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
    def parts(self) -> tuple[str, ...] | None:
        """Part (``train``, ``val``) or fold of each labelled image, or None if the data come without a split."""
        ...

    @property
    def names(self) -> Mapping[int, str] | None:
        """Class names by id, or None."""
        ...

    @property
    def written(self) -> Mapping[int, int]:
        """Id that a prediction writes for each id of the masks, if they differ; else empty."""
        ...

    @property
    def colours(self) -> tuple[str, ...]:
        """Colour ``#rrggbb`` of each class if the masks have colours, else empty."""
        ...

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each labelled image."""
        ...

    @property
    def test_sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each test image."""
        ...

    @property
    def has_test_masks(self) -> bool:
        """Whether the test images have masks."""
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
        """Return images (n, h, w, c) of one size."""
        ...

    def masks(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return masks (n, h, w) of one size."""
        ...

    def test_images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return test images (n, h, w, c) of one size."""
        ...

    def image(self, row: int) -> NDArray[np.generic]:
        """Return an image (h, w, c)."""
        ...

    def mask(self, row: int) -> NDArray[np.uint8]:
        """Return a mask (h, w)."""
        ...

    def window(self, row: int, rows: Bounds, columns: Bounds) -> NDArray[np.generic]:
        """Return some rows and columns of an image (h, w, c), within it."""
        ...

    def mask_window(self, row: int, rows: Bounds, columns: Bounds) -> NDArray[np.uint8]:
        """Return some rows and columns of a mask (h, w), within it."""
        ...

    def test_image(self, row: int) -> NDArray[np.generic]:
        """Return a test image (h, w, c)."""
        ...

    def test_mask(self, row: int) -> NDArray[np.uint8]:
        """Return the mask (h, w) of a test image."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """Images, masks and test images in memory.

    Attributes:
        test_masks_nhw: masks of the test images, or None.
    """

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
    parts: tuple[str, ...] | None = None
    written: Mapping[int, int] = field(default_factory=dict[int, int])
    colours: tuple[str, ...] = ()
    test_masks_nhw: NDArray[np.uint8] | None = None

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each labelled image."""
        height, width = self.images_nhwc.shape[1:3]
        return ((height, width),) * len(self.ids)

    @property
    def test_sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each test image."""
        height, width = self.test_nhwc.shape[1:3]
        return ((height, width),) * len(self.test_ids)

    @property
    def has_test_masks(self) -> bool:
        """Whether the test images have masks."""
        return self.test_masks_nhw is not None

    def images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return the images (n, h, w, c) of the given rows."""
        return self.images_nhwc[np.asarray(rows, dtype=np.int64)]

    def masks(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return the masks (n, h, w) of the given rows, with the ids of the data set."""
        return self.masks_nhw[np.asarray(rows, dtype=np.int64)]

    def test_images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return test images (n, h, w, c)."""
        return self.test_nhwc[np.asarray(rows, dtype=np.int64)]

    def image(self, row: int) -> NDArray[np.generic]:
        """Return an image (h, w, c)."""
        return self.images_nhwc[row]

    def mask(self, row: int) -> NDArray[np.uint8]:
        """Return a mask (h, w)."""
        return self.masks_nhw[row]

    def window(self, row: int, rows: Bounds, columns: Bounds) -> NDArray[np.generic]:
        """Return some rows and columns of an image (h, w, c)."""
        return self.images_nhwc[row, slice(*rows), slice(*columns)]

    def mask_window(self, row: int, rows: Bounds, columns: Bounds) -> NDArray[np.uint8]:
        """Return some rows and columns of a mask (h, w)."""
        return self.masks_nhw[row, slice(*rows), slice(*columns)]

    def test_image(self, row: int) -> NDArray[np.generic]:
        """Return a test image (h, w, c)."""
        return self.test_nhwc[row]

    def test_mask(self, row: int) -> NDArray[np.uint8]:
        """Return the mask (h, w) of a test image."""
        assert self.test_masks_nhw is not None
        return self.test_masks_nhw[row]
