"""Read the images of an npz file one after another, so that memory does not grow with their number."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ensemble.core.data_kinds import IMAGES
from ensemble.core.errors import EnsError
from ensemble.data.formats.npz import check_npz


@dataclass
class NpzStack:
    """The images of one array (n, h, w) or (n, h, w, bands) of an npz file, read in ascending order.

    Attributes:
        path: the file.
        key: name of the array.
        shape: shape of the array.
        dtype: type of its numbers.
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    _stream: IO[bytes] | None = field(default=None, repr=False)
    _next: int = 0

    @classmethod
    def open(cls, path: Path, key: str) -> NpzStack:
        """Open the array ``key``, or the only array of the file.

        Raises:
            EnsError: when the file or array does not exist, holds Python objects, or is no stack of images.
        """
        check_npz(path, IMAGES)
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name.removesuffix(".npy") for name in archive.namelist()]
                stack = key if key in names else names[0] if len(names) == 1 and names != ["training_set"] else None
                if stack is None:
                    raise EnsError(
                        f"expected the key '{key}' (M, H, W) in {path} or one array of images, found {', '.join(names)}"
                    )
                with archive.open(f"{stack}.npy") as stream:
                    shape, fortran, dtype = _header(stream)
        except (zipfile.BadZipFile, ValueError, OSError) as error:
            if isinstance(error, EnsError):
                raise
            raise EnsError(f"{path} is damaged ({error}); copy or write it again") from None
        if dtype.hasobject or fortran or len(shape) not in (3, 4):
            what = "Python objects" if dtype.hasobject else "columns first" if fortran else f"the shape {shape}"
            raise EnsError(f"expected '{stack}' of {path} as a C-ordered stack of images (M, H, W), got {what}")
        return cls(path, stack, shape, dtype)

    @property
    def ids(self) -> Sequence[str]:
        """Row numbers."""
        return [str(row) for row in range(self.shape[0])]

    def read(self, row: int) -> NDArray[np.generic]:
        """Return one image (h, w, bands); going back to an earlier row opens the file again.

        Raises:
            EnsError: when the file ends early or is damaged.
        """
        size = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        try:
            if self._stream is None or row < self._next:
                archive = zipfile.ZipFile(self.path)
                self._stream = archive.open(f"{self.key}.npy")
                _header(self._stream)
                self._next = 0
            while self._next < row:
                self._stream.read(size)
                self._next += 1
            content = self._stream.read(size)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            raise EnsError(f"{self.path} is damaged ({error}); copy or write it again") from None
        self._next += 1
        if len(content) != size:
            raise EnsError(f"{self.path} ends within image {row} of '{self.key}'; copy or write it again")
        image = np.frombuffer(content, self.dtype).reshape(self.shape[1:])
        return image[..., None] if image.ndim == 2 else image


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, order and type from the head of an npy stream; the stream is then at the first number."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)
