"""Open the images to predict: a file, a folder, an npz, or the embedded sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file, is_folder
from ensemble.data.formats.image_files import SUFFIXES, image_files, left_out, read_image
from ensemble.data.formats.npz_stack import NpzStack
from ensemble.data.open_source import embedded_sample


class Images(Protocol):
    """Images that are read one at a time."""

    @property
    def ids(self) -> Sequence[str]:
        """Names of the images."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Sentences about files that are left out or changed when they are read."""
        ...

    def read(self, row: int) -> NDArray[np.generic]:
        """Return one image (h, w, c)."""
        ...


@dataclass(frozen=True)
class _Arrays:
    ids: Sequence[str]
    images_nhwc: NDArray[np.generic]
    notes: Sequence[str] = ()

    def read(self, row: int) -> NDArray[np.generic]:
        return self.images_nhwc[row]


@dataclass(frozen=True)
class _Files:
    paths: Sequence[Path]
    notes: Sequence[str] = ()

    @property
    def ids(self) -> Sequence[str]:
        return [path.stem for path in self.paths]

    def read(self, row: int) -> NDArray[np.generic]:
        return read_image(self.paths[row])


@dataclass
class Measured:
    """Images that remember the highest pixel of those that were read."""

    images: Images
    highest: float = -math.inf

    @property
    def ids(self) -> Sequence[str]:
        """Names of the images."""
        return self.images.ids

    @property
    def notes(self) -> Sequence[str]:
        """Sentences about files that are left out or changed when they are read."""
        return self.images.notes

    def read(self, row: int) -> NDArray[np.generic]:
        """Return one image (h, w, c) and remember its highest pixel."""
        image = self.images.read(row)
        self.highest = max(self.highest, float(image.max()))
        return image


def open_images(source: str | Path) -> Images:
    """Open the images of ``source``.

    Args:
        source: ``sample``; an npz file, whose ``test_set`` (or only array) is read; a folder, whose ``test/`` images
            are read, or the images in it if it has no ``test/``; or one image file.

    Raises:
        EnsError: the source does not exist or holds no images.
    """
    path = Path(source).expanduser()
    if is_folder(path):
        folder = path / "test" if is_folder(path / "test") else path
        files, others = image_files(folder), left_out(folder)
        if not files:
            raise EnsError(f"the folder {folder} holds no images ({', '.join(SUFFIXES)}); check the path")
        return _Files(list(files.values()), () if others is None else (others,))
    if str(source) == "sample":
        sample = embedded_sample()
        return _Arrays(sample.test_ids, sample.test_nhwc)
    if path.suffix.lower() in SUFFIXES and is_file(path):
        return _Files([path])
    return NpzStack.open(path, "test_set")
