"""Draw a fixed sample of labelled pixels in one pass: up to a number per class, and all pixels of rare classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError


@dataclass(frozen=True, eq=False)
class PixelSample:
    """Hold labelled pixels with the probabilities of systems; each pixel represents ``weights_p`` pixels.

    Attributes:
        probs_scp: probabilities (systems, classes, pixels) float32.
        labels_p: true classes.
        image_p: image of each pixel.
        weights_p: number of pixels of the class, divided by the number drawn.
    """

    probs_scp: NDArray[np.float32]
    labels_p: NDArray[np.uint8]
    image_p: NDArray[np.int32]
    weights_p: NDArray[np.float64]

    @property
    def size(self) -> int:
        """Number of pixels drawn."""
        return len(self.labels_p)

    def proportional(self, seed: int = 0) -> PixelSample:
        """Return a part of the sample with the class frequencies of all pixels; all weights are equal then."""
        most = self.weights_p.max(initial=1)
        kept = np.flatnonzero(np.random.default_rng(seed).random(self.size) * most < self.weights_p)
        return PixelSample(
            self.probs_scp[:, :, kept], self.labels_p[kept], self.image_p[kept], np.full(len(kept), most)
        )


class PixelSampler:
    """Draw at most ``per_class`` pixels of each class, uniformly without replacement, from batches of any size.

    Every pixel gets a random number, and the pixels with the ``per_class`` smallest numbers of each class are kept
    (bottom-k sampling). So memory is bounded by twice the sample, which depends on the seed and the order of pixels.

    Args:
        classes: number of classes.
        per_class: maximum number of pixels of a class.
        seed: seed of the draw.

    Raises:
        EnsError: fewer than one pixel per class.

    Reference:
        Cohen and Kaplan, Summarizing Data using Bottom-k Sketches, 2007.

    >>> sampler = PixelSampler(classes=2, per_class=2)
    >>> sampler.add(np.full((1, 2, 5), 0.5, np.float32), np.array([0, 0, 0, 1, 0], np.uint8), np.zeros(5, np.int32))
    >>> sample = sampler.sample()
    >>> sample.labels_p.tolist(), sample.weights_p.tolist()
    ([0, 0, 1], [2.0, 2.0, 1.0])
    """

    def __init__(self, classes: int, per_class: int, seed: int = 0) -> None:
        if per_class < 1:
            raise EnsError(f"expected at least one pixel per class, got {per_class}")
        self.per_class = per_class
        self.pixels_k = np.zeros(classes, np.int64)
        self._generator = np.random.default_rng(seed)
        self._limit_k = np.full(classes, np.inf)
        self._held_k = np.zeros(classes, np.int64)
        self._parts: list[tuple[NDArray[Any], ...]] = []

    def add(self, probs_scp: NDArray[np.float32], labels_p: NDArray[np.uint8], image_p: NDArray[np.int32]) -> None:
        """Add labelled pixels: probabilities (systems, classes, pixels), true classes and images."""
        self.pixels_k += np.bincount(labels_p, minlength=len(self.pixels_k))
        key_p = self._generator.random(len(labels_p))
        kept = np.flatnonzero(key_p < self._limit_k[labels_p])
        self._parts.append((probs_scp[:, :, kept], labels_p[kept], image_p[kept], key_p[kept]))
        self._held_k += np.bincount(labels_p[kept], minlength=len(self.pixels_k))
        if (self._held_k > 2 * self.per_class).any():
            self._thin()

    def sample(self) -> PixelSample:
        """Return the sampled pixels in the order in which they were added.

        Raises:
            EnsError: no pixel was added.
        """
        if not self.pixels_k.sum():
            raise EnsError("expected labelled pixels to sample, got none; give images that have labels")
        self._thin()
        probs_scp, labels_p, image_p, _ = self._parts[0]
        weights_k = self.pixels_k / np.maximum(1, np.bincount(labels_p, minlength=len(self.pixels_k)))
        return PixelSample(probs_scp, labels_p, image_p, weights_k[labels_p])

    def _thin(self) -> None:
        """Keep the ``per_class`` smallest keys of each class."""
        first, *rest = zip(*self._parts, strict=True)
        probs_scp = np.concatenate(first, axis=2)
        labels_p, image_p, key_p = (np.concatenate(part) for part in rest)
        for k in np.flatnonzero(np.bincount(labels_p, minlength=len(self.pixels_k)) > self.per_class):
            self._limit_k[k] = np.partition(key_p[labels_p == k], self.per_class)[self.per_class]
        kept = key_p < self._limit_k[labels_p]
        self._held_k = np.bincount(labels_p[kept], minlength=len(self.pixels_k))
        self._parts = [(probs_scp[:, :, kept], labels_p[kept], image_p[kept], key_p[kept])]
