"""Predict many images batch by batch in bounded memory; of stored images, read what the members said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ensemble.core.progress import Progress, no_progress
from ensemble.data.formats.pixels import to_unit
from ensemble.inference.allocator import memory_kept
from ensemble.inference.bands import with_bands
from ensemble.inference.batching import batches
from ensemble.inference.image_sources import Images
from ensemble.inference.predictor import Predictor
from ensemble.inference.stored_images import StoredImages


def predict_batches(
    predictor: Predictor,
    images: Images,
    progress: Progress = no_progress,
    wanted: Callable[[int], bool] = lambda _: True,
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """Yield rows and probabilities in batches of equal image size, in order and in bounded memory.

    Args:
        predictor: a member or an ensemble.
        images: the images; their bands must be those of the members, or be such that `with_bands` converts them. Of
            stored images the probabilities are read, not the pixels.
        progress: callback that receives the progress.
        wanted: which rows are wanted; a batch without such a row is left out. Batches do not depend on it, because
            rounding depends on the batch.

    Raises:
        EnsError: an image does not fit the members.
    """
    total = len(images.ids)
    with memory_kept(predictor.networks.device):
        for rows in batches([images.head(row) for row in range(total)]):
            if any(map(wanted, rows)) and isinstance(images, StoredImages):
                probabilities = images.probabilities(rows)
                yield list(rows), predictor.networks.pooled(probabilities, len(rows), len(predictor.members))
            elif any(map(wanted, rows)):
                batch = [with_bands(images.read(row), predictor.facts.bands) for row in rows]
                for row, image in zip(rows, batch, strict=True):
                    to_unit(image, predictor.facts.span, images.name(row))  # the message names the image
                yield list(rows), predictor(np.stack(batch), progress)
            progress("predicting", rows.stop, total)
