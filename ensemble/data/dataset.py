"""A data set as members see it: images, labels with void marked once as 255, classes, groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ensemble.config import Background, DataFacts
from ensemble.core.cache import Cache
from ensemble.core.equal_sizes import equal_sizes
from ensemble.core.errors import EnsError
from ensemble.core.threads import in_threads
from ensemble.data.formats.source import ArraySource, Source
from ensemble.data.pixel_file import Bounds
from ensemble.evaluation.void import VOID

BATCH = 64
BATCH_BYTES = 64 << 20
READING_VERSION = 1  # of what is remembered of files; a change of how they are read needs another


@dataclass(frozen=True)
class Dataset:
    """Images with labels, and unlabelled test images.

    Attributes:
        name: name of the file or folder.
        source: raw images and masks.
        background: meaning of class 0 of the data (see :data:`ensemble.config.Background`).
        classes: names of the scored classes, one per output channel ``0..K-1``.
        values: id of each scored class in the user's masks, for masks that are written.
        names: all class names by id, background included.
        counts_ni: pixels of every image by id in the data set, (n, 256).
        data_hash: digest of the raw data.
        absent: classes of a description that no labelled image holds; they are left out.
    """

    name: str
    source: Source
    background: Background
    classes: tuple[str, ...]
    values: tuple[int, ...]
    names: Mapping[int, str]
    counts_ni: NDArray[np.int64]
    data_hash: str
    absent: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Identity of each labelled image."""
        return self.source.ids

    @property
    def test_ids(self) -> tuple[str, ...]:
        """Identity of each unlabelled test image."""
        return self.source.test_ids

    @property
    def groups(self) -> tuple[str, ...] | None:
        """Group of each labelled image as given with the data, or None."""
        return self.source.groups

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is left out or changed when the data are read."""
        if not self.absent:
            return self.source.notes
        shown = f"{', '.join(self.absent[:4])}{', ...' if len(self.absent) > 4 else ''}"
        return (*self.source.notes, f"classes that no labelled image holds are left out: {len(self.absent)} ({shown})")

    @property
    def outputs(self) -> int:
        """Output channels of a network: the scored classes, and a background channel under ``zero-weight``."""
        return len(self.classes) + (self.background == "zero-weight")

    @cached_property
    def indices(self) -> tuple[int, ...]:
        """Id of each scored class in the masks of ``source``; for described data it differs from ``values``."""
        of_value = {value: index for index, value in self.source.written.items()}
        return tuple(of_value.get(value, value) for value in self.values)

    @cached_property
    def bands(self) -> int:
        """Bands of every image."""
        return self.image(0).shape[2]

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each labelled image."""
        return self.source.sizes

    @property
    def test_sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each test image."""
        return self.source.test_sizes

    @cached_property
    def one_size(self) -> tuple[int, int] | None:
        """Height and width of all labelled images, or None if they differ."""
        return self.sizes[0] if len(set(self.sizes)) == 1 else None

    @cached_property
    def counts_nk(self) -> NDArray[np.int64]:
        """Labelled pixels per image and scored class."""
        return self.counts_ni[:, list(self.indices)]

    @cached_property
    def foreground_nk(self) -> NDArray[np.int64]:
        """Labelled pixels per image and class other than 0.

        Splits are made from these counts. So no split depends on ``background``, and members with different settings
        of it can be combined.
        """
        return self.counts_ni[:, [index for index, value in zip(self.indices, self.values, strict=True) if value != 0]]

    @property
    def void_share(self) -> float:
        """Share of all pixels that have no label."""
        return 1.0 - float(self.counts_nk.sum()) / float(self.counts_ni.sum())

    @cached_property
    def to_label(self) -> NDArray[np.uint8]:
        """Table from the ids of the data set to labels: ``0..K-1`` and 255 for void."""
        table = np.full(256, VOID, np.uint8)
        table[list(self.indices)] = np.arange(len(self.indices))
        return table

    def images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return images (n, h, w, bands) of one size, uint8 or float32 in 0..1."""
        return self.source.images(rows)

    def labels(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return labels (n, h, w) of images of one size: ``0..K-1``, void 255."""
        ids = self.source.masks(rows)
        labels = ids.tobytes().translate(self.to_label.tobytes())  # 10 times as fast as an index
        return np.frombuffer(bytearray(labels), np.uint8).reshape(ids.shape)

    def test_images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return unlabelled test images (n, h, w, bands) of one size."""
        return self.source.test_images(rows)

    def window(self, row: int, rows: Bounds, columns: Bounds) -> NDArray[np.generic]:
        """Return a part of a labelled image (h, w, bands), from the first row and column to the one after the last."""
        return self.source.window(row, rows, columns)

    def label_window(self, row: int, rows: Bounds, columns: Bounds) -> NDArray[np.uint8]:
        """Return the labels (h, w) of a part of an image; see :meth:`window`."""
        return self.to_label[self.source.mask_window(row, rows, columns)]

    @property
    def parts(self) -> tuple[str, ...] | None:
        """Part or fold of each labelled image as given with the data, or None."""
        return self.source.parts

    @property
    def has_test_labels(self) -> bool:
        """Whether the test images have labels."""
        return self.source.has_test_masks

    def image(self, row: int) -> NDArray[np.generic]:
        """Return a labelled image (h, w, bands), uint8 or float32 in 0..1."""
        return self.source.image(row)

    def label(self, row: int) -> NDArray[np.uint8]:
        """Return the labels (h, w) of an image: ``0..K-1``, void 255."""
        return self.to_label[self.source.mask(row)]

    def test_image(self, row: int) -> NDArray[np.generic]:
        """Return a test image (h, w, bands), uint8 or float32 in 0..1."""
        return self.source.test_image(row)

    def test_label(self, row: int) -> NDArray[np.uint8]:
        """Return the labels (h, w) of a test image; see ``has_test_labels``.

        Raises:
            EnsError: the mask holds a class that no labelled image holds; as void it would leave the score unseen.
        """
        mask, written = self.source.test_mask(row), self.source.written
        for index in np.flatnonzero(np.bincount(mask.ravel(), minlength=VOID + 1)).tolist():
            value = written.get(index, index)
            if index not in (*self.indices, VOID) and value != 0:  # 0 is the background
                name = f"'{(self.source.names or {}).get(index, f'class {value}')}' (id {value})"
                raise EnsError(
                    f"expected test masks with the classes of the labelled images of {self.name}, but that of"
                    f" {self.test_ids[row]} holds {name}; make it void in the description of the data, or give labelled"
                    " images that hold it"
                )
        return self.to_label[mask]

    def part_rows(self, part: str) -> list[int] | None:
        """Return the rows of an official part, ``train`` or ``val``, or None if the data come without it."""
        rows = [row for row, name in enumerate(self.parts or ()) if name == part]
        return rows or None

    def batches(self) -> Iterator[range]:
        """Yield the rows of the labelled images in order, in batches of one size and at most 64 MB."""
        return equal_sizes(self.sizes, BATCH, BATCH_BYTES // (4 * self.bands))

    def test_batches(self) -> Iterator[range]:
        """Yield the rows of the test images in order, in batches of one size and at most 64 MB."""
        return equal_sizes(self.test_sizes, BATCH, BATCH_BYTES // (4 * self.bands))

    def check_images(self) -> None:
        """Read every image and test image, so that a bad one is named before any work is done.

        That they are good is remembered by the digest of the data.

        Raises:
            EnsError: an image is damaged, in other units, or has pixels that are no numbers; the text names it.
        """
        if isinstance(self.source, ArraySource):
            return  # arrays have been checked as a whole
        good = Cache("images-are-good", READING_VERSION, self.source.fingerprint)
        if good.read() is not None:
            return
        for rows in self.batches():
            in_threads(self.image, rows)
        for rows in self.test_batches():
            in_threads(self.test_image, rows)
        good.write(b"")

    def facts(self, split_hash: str) -> DataFacts:
        """Return the facts about these data that a member stores."""
        homework = self.source.default_background == "void"
        return DataFacts(
            name=self.name,
            data_hash=self.data_hash,
            split_hash=split_hash,
            background=self.background,
            classes=self.classes,
            values=self.values,
            keras_ignored=self.values.index(0) if homework and 0 in self.values else None,
            colours=tuple(self.source.colours[index] for index in self.indices) if self.source.colours else (),
            bands=self.bands,
            span=self.source.span,
            height=max(height for height, _ in self.sizes),
            width=max(width for _, width in self.sizes),
        )
