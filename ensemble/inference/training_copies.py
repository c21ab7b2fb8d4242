"""Find the images of other data that have the same pixels as an image that a model was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.progress import Progress, no_progress
from ensemble.data import Dataset, open_dataset
from ensemble.inference.predictor import Predictor


def training_pixels(
    predictor: Predictor, own: Dataset | None, progress: Progress = no_progress
) -> tuple[set[str], tuple[str, ...]]:
    """Return the digests of all images that a member was trained on, and notes on training data that have changed.

    Args:
        predictor: the member or ensemble.
        own: its training data, if they are open.
        progress: callback that receives the progress.
    """
    seen, notes = set[str](), tuple[str, ...]()
    for member in {member.facts.data_hash: member for member in predictor.members}.values():
        settings = member.settings.data
        trained = own or _opened(settings, member.facts.data_hash, progress)
        if trained is None:
            note = f"the training data {settings.source} are not as they were, so copies of their images are not found"
            notes += (note,)
            continue
        held = set(settings.vault) | (set[str]() if settings.folds else set(member.store().ids))
        rows = [row for row, name in enumerate(trained.ids) if name not in held]
        for count, row in enumerate(rows, 1):
            seen.add(pixel_digest(trained.image(row)))
            progress("looking for copies of training images", count, len(rows))
    return seen, notes


def _opened(settings: DataSettings, data_hash: str, progress: Progress) -> Dataset | None:
    """Return the training data if they are still there, unchanged."""
    try:
        found = open_dataset(settings, progress)
    except EnsError:
        return None
    return found if found.data_hash == data_hash else None


def pixel_digest(image: NDArray[Any]) -> str:
    """Return the digest of the pixels of an image, however its file is compressed."""
    return digest(str(image.shape), image.dtype.str, np.ascontiguousarray(image).data)
