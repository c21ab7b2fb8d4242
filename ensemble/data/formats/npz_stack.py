"""Read the images of an npz file one after another, so that memory does not grow with their number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.arrays import ADVICE, Entry, check_array, npz_entries, open_numbers, read_array
from ensemble.core.data_kinds import IMAGES, check_exists
from ensemble.core.errors import EnsError
from ensemble.core.reading import guard
from ensemble.data.formats.npz import MAX_IMAGES
from ensemble.data.formats.pixels import check_pixels


@dataclass
class NpzStack:
    """The images of one array (n, h, w) or (n, h, w, bands) of an npz file, read in ascending order.

    Attributes:
        entry: the array in the file.
    """

    entry: Entry
    _whole: NDArray[Any] | None = field(default=None, repr=False)
    _opened: ExitStack = field(default_factory=ExitStack, repr=False)
    _stream: IO[bytes] | None = field(default=None, repr=False)
    _next: int = 0

    @classmethod
    def open(cls, path: Path, key: str) -> NpzStack:
        """Open the array ``key``, or the only array of the file. It is read to its end once, to compare its checksum.

        Raises:
            EnsError: when the file or array does not exist, is damaged, holds Python objects, or is no stack of images.
        """
        check_exists(path, IMAGES)
        entries = npz_entries(path)
        names = list(entries)
        stack = key if key in names else names[0] if len(names) == 1 and names != ["training_set"] else None
        if stack is None:
            raise EnsError(
                f"expected the key '{key}' (M, H, W) in {path} or one array of images, found"
                f" {', '.join(names) or 'nothing'}"
            )
        entry = entries[stack]
        if len(entry.shape) not in (3, 4) or min(entry.shape[1:]) < 1 or entry.shape[0] > MAX_IMAGES:
            raise EnsError(
                f"expected '{stack}' of {path} as a stack of at most {MAX_IMAGES} images (M, H, W), got the shape"
                f" {entry.shape}"
            )
        if entry.fortran:  # an image is not in one piece there
            return cls(entry, read_array(entry))
        check_array(entry)
        return cls(entry)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.entry.shape

    @property
    def ids(self) -> Sequence[str]:
        """Row numbers."""
        return [str(row) for row in range(self.shape[0])]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is left out."""
        return ()

    def read(self, row: int) -> NDArray[Any]:
        """Return one image (h, w, bands); going back to an earlier row opens the file again.

        Raises:
            EnsError: when the file ends early or is damaged, or the image holds no finite numbers.
        """
        image = self.read_any(row)
        check_pixels(image, f"image {row} of {self.entry}")
        return image[..., None] if image.ndim == 2 else image

    def read_any(self, row: int) -> NDArray[Any]:
        """Return one row of the array, whatever it holds."""
        if self._whole is not None:
            return self._whole[row]
        size = math.prod(self.shape[1:]) * self.entry.dtype.itemsize
        with guard(self.entry.path, "an npz file", ADVICE):
            if self._stream is None or row < self._next:
                self._opened.close()
                self._stream = self._opened.enter_context(open_numbers(self.entry))
                self._next = 0
            assert self._stream is not None
            while self._next < row:
                self._stream.read(size)
                self._next += 1
            content = self._stream.read(size)
            self._next += 1
            if len(content) != size:
                raise EnsError(f"{self.entry} ends within image {row}; {ADVICE}")
            if self._next == self.shape[0]:
                self._opened.close()
                self._stream = None
            return np.frombuffer(content, self.entry.dtype).reshape(self.shape[1:])
