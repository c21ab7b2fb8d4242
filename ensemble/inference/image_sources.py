"""Images to predict, which are read one at a time: from an array or npz, a file each, or a described data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ensemble.core.files import digest, file_digest
from ensemble.data.description import Description
from ensemble.data.formats.files import read_bands
from ensemble.data.formats.image_files import image_header, read_image
from ensemble.data.formats.npz_stack import NpzStack
from ensemble.data.formats.part_samples import Sample


class Head(NamedTuple):
    """What is known of an image before its pixels are read."""

    height: int
    width: int
    bands: int
    dtype: str


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

    @property
    def files(self) -> Sequence[Path] | None:
        """File of each image; None if one file holds all."""
        ...

    def head(self, row: int) -> Head:
        """Return size, bands and type of one image, without reading its pixels."""
        ...

    def name(self, row: int) -> str:
        """Return what errors call an image."""
        ...

    def digest(self, row: int) -> str:
        """Return the digest of one image."""
        ...

    def read(self, row: int) -> NDArray[np.generic]:
        """Return one image (h, w, c)."""
        ...


@dataclass(frozen=True)
class Stack:
    """Images of one size in an array, or in an npz file that is read image by image."""

    ids: Sequence[str]
    stack: NDArray[np.generic] | NpzStack
    source: str
    notes: Sequence[str] = ()
    files: None = None

    def head(self, row: int) -> Head:
        """Return size, bands and type of one image."""
        _, height, width, *bands = self.stack.shape
        dtype = self.stack.entry.dtype if isinstance(self.stack, NpzStack) else self.stack.dtype
        return Head(height, width, bands[0] if bands else 1, dtype.name)

    def name(self, row: int) -> str:
        """Return what errors call an image."""
        return f"image {self.ids[row]} of {self.source}"

    def digest(self, row: int) -> str:
        """Return the digest of one image."""
        image = self.read(row)
        return digest(str(image.shape), image.dtype.str, np.ascontiguousarray(image).data)

    def read(self, row: int) -> NDArray[np.generic]:
        """Return one image (h, w, c)."""
        return self.stack.read(row) if isinstance(self.stack, NpzStack) else self.stack[row]


@dataclass(frozen=True)
class ImageFiles:
    """Images in a file each."""

    ids: Sequence[str]
    files: Sequence[Path]
    notes: Sequence[str] = ()

    def head(self, row: int) -> Head:
        """Return size, bands and type of one image, from the head of its file."""
        head = image_header(self.files[row])
        return Head(head.height, head.width, head.bands, head.dtype)

    def name(self, row: int) -> str:
        """Return what errors call an image."""
        return str(self.files[row])

    def digest(self, row: int) -> str:
        """Return the digest of a file."""
        return file_digest(self.files[row])

    def read(self, row: int) -> NDArray[np.generic]:
        """Return one image (h, w, c)."""
        return read_image(self.files[row])


@dataclass(frozen=True)
class DescribedFiles:
    """Images of a described data set; the bands of an image may be in several files."""

    description: Description
    samples: Sequence[Sample]
    notes: Sequence[str] = ()

    @property
    def ids(self) -> Sequence[str]:
        """Names of the images."""
        return [sample.id for sample in self.samples]

    @property
    def files(self) -> Sequence[Path]:
        """First file of each image."""
        return [sample.images[0] for sample in self.samples]

    def head(self, row: int) -> Head:
        """Return size, bands and type of one image, from the heads of its files."""
        heads = [image_header(path) for path in self.samples[row].images]
        bands = self.description.bands
        count = sum(head.bands for head in heads) if bands is None else len(bands)
        return Head(heads[0].height, heads[0].width, count, heads[0].dtype)

    def name(self, row: int) -> str:
        """Return what errors call an image."""
        return str(self.samples[row].images[0])

    def digest(self, row: int) -> str:
        """Return the digest of the files of an image and of the bands that count."""
        meaning = repr((self.description.bands, self.description.no_data))
        return digest(*map(file_digest, self.samples[row].images), meaning)

    def read(self, row: int) -> NDArray[np.generic]:
        """Return one image (h, w, c)."""
        return read_bands(self.samples[row], self.description)


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

    @property
    def files(self) -> Sequence[Path] | None:
        """File of each image; None if one file holds all."""
        return self.images.files

    def head(self, row: int) -> Head:
        """Return size, bands and type of one image."""
        return self.images.head(row)

    def name(self, row: int) -> str:
        """Return what errors call an image."""
        return self.images.name(row)

    def digest(self, row: int) -> str:
        """Return the digest of one image."""
        return self.images.digest(row)

    def read(self, row: int) -> NDArray[np.generic]:
        """Return one image (h, w, c) and remember its highest pixel."""
        image = self.images.read(row)
        self.highest = max(self.highest, float(image.max()))
        return image
