"""Name parts of images: a large image is read and scored strip after strip, from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Strip(NamedTuple):
    """Where a strip of rows lies in its image.

    Attributes:
        top: first row of the strip.
        height: rows of the whole image.
    """

    top: int
    height: int


LONGEST = 2048  # pixels of the longer side of a map that is kept to be shown


def step_of(height: int, width: int) -> int:
    """Return the step at which the rows and columns of an image are kept for a picture; 1 unless it is large.

    >>> step_of(1000, 2048), step_of(10_000, 500)
    (1, 5)
    """
    return -(-max(height, width) // LONGEST)


def thinned(values: NDArray[Any], height: int, top: int = 0) -> NDArray[Any]:
    """Return a copy of the rows and columns of (..., h, w) that a picture of the whole image keeps; see `step_of`.

    Args:
        values: an image, or a strip of it.
        height: rows of the image.
        top: first row of the strip.
    """
    step = step_of(height, values.shape[-1])
    return values[..., -top % step :: step, ::step].copy()


class PredictedBatch(NamedTuple):
    """Probabilities of several members for some images of one size, or for a strip of one image, and its labels.

    Attributes:
        rows: the images.
        probs_mnchw: probabilities; around a strip, they include a few rows more (a halo).
        labels_nhw: labels with void 255, without the halo.
        inside: rows of ``probs_mnchw`` that ``labels_nhw`` has.
        strip: where the labels lie in their image; None if the images are whole.
    """

    rows: slice
    probs_mnchw: NDArray[np.float32]
    labels_nhw: NDArray[np.uint8]
    inside: slice = slice(None)
    strip: Strip | None = None

    def cut(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values (..., h, w) without the rows of the halo.

        >>> batch = PredictedBatch(slice(0, 1), np.ones((1, 1, 2, 4, 3)), np.zeros((1, 2, 3)), slice(1, 3))
        >>> batch.cut(batch.probs_mnchw).shape
        (1, 1, 2, 2, 3)
        """
        return values[..., self.inside, :]


def shown_maps(
    batches: Iterable[PredictedBatch], maps_of: Callable[[PredictedBatch], tuple[NDArray[Any], ...]]
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield the maps of every image, thinned for a picture and put together from its strips.

    Args:
        batches: one image, or a strip of one, at a time.
        maps_of: function from a batch to maps (h, w) without its halo.
    """
    parts: list[tuple[NDArray[Any], ...]] = []
    for batch in batches:
        rows = batch.labels_nhw.shape[1]
        strip = batch.strip or Strip(0, rows)
        parts.append(tuple(thinned(each_hw, strip.height, strip.top) for each_hw in maps_of(batch)))
        if strip.top + rows == strip.height:
            yield tuple(np.concatenate(each) for each in zip(*parts, strict=True))
            parts = []
