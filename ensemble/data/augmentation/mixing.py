"""Augmentations that mix images: rectangles swapped within a batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.data.windows import Pairs, TrainingImages

# (images (n, h, w, c), labels (n, h, w), generator, training images) -> new images and labels, of the same shapes and
# types.
Change = Callable[[NDArray[np.generic], NDArray[np.uint8], np.random.Generator, TrainingImages], Pairs]


def in_a_row(*changes: Change) -> Change:
    """Return a step that does several steps, one after the other."""

    def change(
        images_nhwc: NDArray[np.generic],
        labels_nhw: NDArray[np.uint8],
        generator: np.random.Generator,
        donors: TrainingImages,
    ) -> Pairs:
        for each in changes:
            images_nhwc, labels_nhw = each(images_nhwc, labels_nhw, generator, donors)
        return images_nhwc, labels_nhw

    return change


def cutmix(*, p: float = 0.5, alpha: float = 1.0) -> Change:
    """A rectangle of another image of the same batch, image and mask together.

    The rectangle covers ``1 - s`` of the image, with ``s`` from Beta(alpha, alpha); it keeps its place and is cut at
    the borders. The only image of a batch stays as it is.

    Args:
        p: probability that an image is changed, 0 to 1.
        alpha: parameter of the Beta distribution, above 0; 1 is uniform.

    Reference: Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
    Features", equations 1 and 2.
    """
    if not 0 <= p <= 1 or not 0 < alpha < np.inf:
        raise EnsError(f"expected p in 0..1 and alpha above 0 for 'cutmix', got p={p:g}, alpha={alpha:g}; change them")

    def change(
        images_nhwc: NDArray[np.generic],
        labels_nhw: NDArray[np.uint8],
        generator: np.random.Generator,
        _: TrainingImages,
    ) -> Pairs:
        images, labels = images_nhwc.copy(), labels_nhw.copy()
        total, height, width = labels.shape
        if total == 1:
            return images, labels
        partners = (np.arange(total) + generator.integers(1, total)) % total
        for at in np.flatnonzero(generator.random(total) < p):
            share = 1 - generator.beta(alpha, alpha)
            box = rectangle((height, width), share, (generator.integers(height), generator.integers(width)))
            images[at][box] = images_nhwc[partners[at]][box]
            labels[at][box] = labels_nhw[partners[at]][box]
        return images, labels

    return change


def rectangle(size: tuple[int, int], share: float, centre: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rectangle around ``centre`` with a share of an image's area and its proportions, cut at the borders.

    >>> rectangle((64, 128), 0.25, (32, 0))
    (slice(16, 48, None), slice(0, 32, None))
    """
    halves = [int(whole * share**0.5) // 2 for whole in size]
    first, second = (
        slice(max(0, int(at) - half), min(whole, int(at) + half))
        for at, half, whole in zip(centre, halves, size, strict=True)
    )
    return first, second
