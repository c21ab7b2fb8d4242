"""A sample of pixels from a stream of probabilities, evenly spaced, in bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class PixelSample:
    """Every s-th pixel of all that were added; s doubles as soon as the sample would hold more than ``most``.

    The sample depends on the order of the pixels, not on how they are cut into batches.

    Args:
        most: largest number of pixels kept, at least 2.

    >>> sample = PixelSample(most=2)
    >>> for column in range(5):
    ...     sample.add(np.full((1, 1, 1, 1), column, np.float32))
    >>> sample.probs_cp.tolist()  # every fourth pixel
    [[0.0, 4.0]]
    """

    def __init__(self, most: int) -> None:
        self._most, self._step, self._seen = most, 1, 0
        self._parts: list[NDArray[np.float32]] = []
        self._kept = 0

    def add(self, probs_nchw: NDArray[np.float32]) -> None:
        """Add the pixels of some images, or of a strip of one."""
        probs_cp = probs_nchw.swapaxes(0, 1).reshape(probs_nchw.shape[1], -1)
        part = probs_cp[:, -self._seen % self._step :: self._step]
        self._seen += probs_cp.shape[1]
        if self._kept + part.shape[1] > self._most:
            joined = np.concatenate([*self._parts, part], axis=1)
            while joined.shape[1] > self._most:
                joined, self._step = joined[:, ::2], 2 * self._step
            self._parts, self._kept = [joined.copy()], joined.shape[1]
        elif part.size:
            self._parts.append(part.copy())
            self._kept += part.shape[1]

    @property
    def probs_cp(self) -> NDArray[np.float32]:
        """Probabilities (classes, pixels) of the sample; at least one pixel has been added."""
        self._parts = [np.concatenate(self._parts, axis=1)]
        return self._parts[0]
