"""Test images of the members' data, by the probabilities that the members stored: pooled without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned, align
from ensemble.combining.cascade import Predict
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.reading import is_folder
from ensemble.core.registry import IMPORTED
from ensemble.inference.batching import is_tiled
from ensemble.inference.image_sources import Head
from ensemble.runs.member import Member
from ensemble.runs.run_files import bundle_of

STORED, SPLIT = "stored", "test"


@dataclass(frozen=True)
class StoredImages:
    """Images of which only probabilities are at hand.

    Attributes:
        aligned: the stores of the members.
        bands: bands of the images.
    """

    aligned: Aligned
    bands: int
    files: None = None

    @classmethod
    def of(cls, members: Sequence[Member], classes: Sequence[str]) -> StoredImages:
        """Open the stored probabilities of test images.

        Args:
            members: the members.
            classes: names of the classes of the model.

        Raises:
            EnsError: a member stored none, or the members stored those of other images; or an image is large.
        """
        for member in members:
            if (bundle := bundle_of(member.path)) is not None:
                raise EnsError(
                    f"the bundle {bundle.path} holds no stored probabilities of test images; give the images, or the"
                    " run that it was made of"
                )
            if not member.has_store(SPLIT):
                raise EnsError(f"{member.name} has no stored probabilities of test images; {_advice(member)}")
        aligned = align(members, SPLIT, classes)
        for name, size in zip(aligned.ids, aligned.sizes, strict=True):
            if is_tiled(size):
                raise EnsError(
                    f"image {name} has {size[0]}x{size[1]} pixels, which is too large for '{STORED}'; give the images"
                    " instead, which are predicted in tiles"
                )
        return cls(aligned, members[0].facts.bands)

    @property
    def ids(self) -> Sequence[str]:
        """Names of the images."""
        return self.aligned.ids

    @property
    def notes(self) -> Sequence[str]:
        """Sentences about where the probabilities come from."""
        return [
            "no network predicts: these are the probabilities that were stored",
            *[f"a folder {STORED} is there, too; give ./{STORED} to predict its images"] * is_folder(Path(STORED)),
        ]

    def head(self, row: int) -> Head:
        """Return size and bands of one image."""
        return Head(*self.aligned.sizes[row], self.bands, "float32")

    def name(self, row: int) -> str:
        """Return what errors call an image."""
        return f"test image {self.ids[row]}"

    def digest(self, row: int) -> str:
        """Return the digest of the stores and of the place of an image in them."""
        return digest(str(row), *(chunk.digest for store in self.aligned.stores for chunk in store.chunks))

    def read(self, row: int) -> NDArray[np.generic]:
        """Refuse: the pixels are not stored."""
        raise AssertionError(f"{self.name(row)} has stored probabilities only")

    def probabilities(self, rows: range) -> Predict:
        """Return what gives the stored probabilities of a member of some of the ``rows``."""
        batches = [batch.probs_mnchw for batch in self.aligned.images(rows)]
        probs_mnchw = np.concatenate(batches, axis=1)
        return lambda place, some: probs_mnchw[place, some]


def _advice(member: Member) -> str:
    if member.settings.architecture.origin == IMPORTED:
        return "import it with those of test images, too"
    return f"its data had no test images, so give images in place of '{STORED}'"
