"""Probabilities that teach a student, next to its images: one file per image, read by windows, one byte per value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.threads import in_threads
from ensemble.core.void import VOID
from ensemble.data.pixel_file import read_pixels, write_pixels

Span = tuple[int, int]
"""The first row or column, and the one after the last."""


class Place(NamedTuple):
    """A window of an image; rows and columns (0, 0) stand for the whole image."""

    row: int
    rows: Span = (0, 0)
    columns: Span = (0, 0)


@dataclass(frozen=True, eq=False)
class SoftTargets:
    """Coded probabilities (h, w, k) of the images that the network of one fold learns from.

    A code is a byte of `ensemble.runs.store.encode`; 255 stands for a pixel outside of the image, which nothing is
    known about.

    Attributes:
        folder: folder of the files.
        key: digest of what the probabilities were computed from; files of another key are not read.
        sizes: height and width of each image by its row.
        unlabelled: rows of the images without labels.
        share: share of the images of a batch that are taken from these.
        prepare: writes the files that are missing; called before the first batch.
    """

    folder: Path
    key: str
    sizes: Sequence[tuple[int, int]]
    unlabelled: range
    share: float
    prepare: Callable[[], object]

    def file(self, row: int) -> Path:
        """Return the file of an image."""
        return self.folder / f"{row}.px"

    def write(self, row: int, codes_hwk: NDArray[np.uint8]) -> None:
        """Write the codes of an image.

        Raises:
            EnsError: the disk is full.
        """
        try:
            write_pixels(self.file(row), codes_hwk, self.key)
        except OSError as error:
            raise EnsError(f"cannot write {self.file(row)}: {error.strerror}; free disk space") from None

    def has(self, row: int) -> bool:
        """Return whether the file of an image is whole."""
        return read_pixels(self.file(row), self.key) is not None

    def mixed(self, rows: Sequence[int], kept: Sequence[bool], generator: np.random.Generator) -> list[int]:
        """Return the rows of a batch with a share of them replaced by unlabelled images, drawn at random.

        Args:
            rows: rows of a batch.
            kept: which of them are replaced last.
            generator: source of the random numbers.
        """
        mixed_n = np.asarray(rows, np.int64)
        if self.unlabelled:
            count = min(len(rows) - 1, max(1, round(self.share * len(rows))))
            mixed_n[np.argsort(kept, kind="stable")[:count]] = generator.choice(self.unlabelled, count)
        return mixed_n.tolist()

    def read(self, places: Sequence[Place]) -> NDArray[np.uint8]:
        """Return the codes (n, h, w, k) at places of one size."""
        return np.stack(in_threads(self._read, places))

    def _read(self, place: Place) -> NDArray[np.uint8]:
        size = self.sizes[place.row]
        spans = [(0, whole) if span == (0, 0) else span for span, whole in zip(place[1:], size, strict=True)]
        inside = [(max(first, 0), min(end, whole)) for (first, end), whole in zip(spans, size, strict=True)]
        codes = read_pixels(self.file(place.row), self.key, inside[0], inside[1])
        if codes is None:
            raise EnsError(
                f"{self.file(place.row)} is missing or damaged, so the student cannot be taught; repeat the command,"
                " which writes it again"
            )
        around = [(start - first, end - stop) for (first, end), (start, stop) in zip(spans, inside, strict=True)]
        return np.pad(codes, [*around, (0, 0)], constant_values=VOID).astype(np.uint8, copy=False)
