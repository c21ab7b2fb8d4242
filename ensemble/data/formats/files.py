"""Read a data set of image files as its description says; a pool of threads reads files when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.config import Background
from ensemble.core.errors import EnsError
from ensemble.core.threads import in_threads
from ensemble.core.void import VOID
from ensemble.data.description import Description
from ensemble.data.formats.coding import MaskTable, read_values, to_labels
from ensemble.data.formats.image_files import (
    image_header,
    read_image,
    read_mask,
    read_no_data,
)
from ensemble.data.formats.part_samples import Sample
from ensemble.data.formats.pixels import Span, to_unit
from ensemble.data.pixel_cache import PixelCache
from ensemble.data.pixel_file import Bounds

P = TypeVar("P", bound=np.generic)


@dataclass(frozen=True)
class FileSource:
    """Images in files, with masks in files or in a table; what is decoded is kept.

    Attributes:
        description: where the files are and what their values mean.
        labelled: the labelled images.
        test: the test images.
        groups: group of each labelled image, or None.
        parts: part or fold of each labelled image, or None.
        names: class names by id, or None.
        written: the id that a prediction writes for each id of the masks, if they differ.
        colours: the colour of each class, if masks have colours.
        span: raw pixel values that become 0 and 1.
        bands: bands of every image; a grey image among colour images gets three.
        fingerprint: digest of the content and of how it is read.
        pixels: what is decoded already.
        sizes: height and width of every labelled image.
        test_sizes: height and width of every test image.
        notes: sentences about what is left out or changed when the data are read.
        without_data: images with pixels that count as void, because the file says that they have no data.
    """

    description: Description
    labelled: tuple[Sample, ...]
    test: tuple[Sample, ...]
    groups: tuple[str, ...] | None
    parts: tuple[str, ...] | None
    names: Mapping[int, str] | None
    written: Mapping[int, int]
    colours: tuple[str, ...]
    span: Span
    bands: int
    fingerprint: str
    pixels: PixelCache = field(repr=False, compare=False)
    sizes: tuple[tuple[int, int], ...]
    test_sizes: tuple[tuple[int, int], ...]
    notes: tuple[str, ...] = ()
    without_data: frozenset[Path] = frozenset()
    default_background: Background = "class"
    _tables: Mapping[str, MaskTable] = field(default_factory=dict[str, MaskTable], repr=False, compare=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the labelled images."""
        return tuple(sample.id for sample in self.labelled)

    @property
    def test_ids(self) -> tuple[str, ...]:
        """Names of the test images."""
        return tuple(sample.id for sample in self.test)

    @property
    def has_test_masks(self) -> bool:
        """Whether the test images have masks."""
        part = self.description.test
        return bool(self.test) and part is not None and part.masks is not None

    def images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return the images (n, h, w, c) of the given rows, which have one size."""
        return np.stack(in_threads(self.image, rows))

    def masks(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return the masks (n, h, w) of the given rows, which have one size; pixels without data are 255."""
        return np.stack(in_threads(self.mask, rows))

    def test_images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return test images (n, h, w, c) of the given rows, which have one size."""
        return np.stack(in_threads(self.test_image, rows))

    def image(self, row: int) -> NDArray[np.generic]:
        """Return an image (h, w, c) in the pixels of its file."""
        return self._kept("image", self.labelled[row], self._read_image)

    def mask(self, row: int) -> NDArray[np.uint8]:
        """Return a mask (h, w) in the pixels of its file."""
        return self._kept("mask", self.labelled[row], self._read_mask)

    def window(self, row: int, rows: Bounds, columns: Bounds) -> NDArray[np.generic]:
        """Return some rows and columns of an image (h, w, c)."""
        return self._kept("image", self.labelled[row], self._read_image, rows, columns)

    def mask_window(self, row: int, rows: Bounds, columns: Bounds) -> NDArray[np.uint8]:
        """Return some rows and columns of a mask (h, w)."""
        return self._kept("mask", self.labelled[row], self._read_mask, rows, columns)

    def test_image(self, row: int) -> NDArray[np.generic]:
        """Return a test image (h, w, c) in the pixels of its file; it is read too seldom to be kept on disk."""
        return self._kept("image", self.test[row], self._read_image, disk=False)

    def test_mask(self, row: int) -> NDArray[np.uint8]:
        """Return the mask (h, w) of a test image in the pixels of its file."""
        return self._read_mask(self.test[row])

    def _read_image(self, sample: Sample) -> NDArray[np.generic]:
        image = read_bands(sample, self.description)
        unit = to_unit(image, self.span, str(sample.images[0]))
        return np.repeat(unit, self.bands, axis=2) if unit.shape[2] < self.bands else unit

    def _read_mask(self, sample: Sample) -> NDArray[np.uint8]:
        return self._without_data(sample, self._labels(sample))

    def _labels(self, sample: Sample) -> NDArray[np.uint8]:
        described = self.description
        if sample.part in self._tables:
            header = image_header(sample.images[0])
            values = self._tables[sample.part].values(sample.name, header.height, header.width)
            return to_labels(values, described.indices, f"the mask of the image {sample.id}")
        if described.classes is None and len(sample.masks) == 1 and described.channel is None:
            return read_mask(sample.masks[0])
        values = read_values(sample.masks, described)
        if described.classes is None:
            return _plain_ids(values, sample)
        return to_labels(values, described.indices, f"the mask {sample.masks[0]}")

    def _without_data(self, sample: Sample, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.description.no_data is None and not self.without_data.intersection(sample.images):
            return mask
        absent = np.all([read_no_data(path, self.description.no_data) for path in sample.images], axis=0)
        return np.where(absent, np.uint8(VOID), mask)

    def _kept(
        self,
        kind: str,
        sample: Sample,
        read: Callable[[Sample], NDArray[P]],
        rows: Bounds | None = None,
        columns: Bounds | None = None,
        *,
        disk: bool = True,
    ) -> NDArray[P]:
        """Return what ``read`` gives for a sample, or a window of it; see `PixelCache.read`."""
        name = (kind, sample.part, sample.id)  # a test image may have the name of a labelled one
        return cast(NDArray[P], self.pixels.read(name, lambda: read(sample), rows, columns, disk=disk))


def read_bands(sample: Sample, description: Description) -> NDArray[Any]:
    """Return an image (h, w, c): the bands of all its files, of which the description may choose some.

    Raises:
        EnsError: a file cannot be read, the files differ in size, or a band is missing.
    """
    parts = [read_image(path, description.no_data) for path in sample.images]
    if len({part.shape[:2] for part in parts}) > 1:
        raise EnsError(f"expected the files of the image {sample.id} to have one size, but they differ; correct them")
    image = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    if description.bands is None:
        return image
    if max(description.bands) > image.shape[2]:
        raise EnsError(
            f"expected at least {max(description.bands)} bands in {sample.images[0]}, as bands in the description says,"
            f" got {image.shape[2]}; correct bands"
        )
    return image[..., [band - 1 for band in description.bands]]


def _plain_ids(values: NDArray[Any], sample: Sample) -> NDArray[np.uint8]:
    if values.max(initial=0) > VOID:
        raise EnsError(f"expected ids from 0 to 255 in the mask {sample.masks[0]}, got {values.max()}; use classes")
    return values.astype(np.uint8)
