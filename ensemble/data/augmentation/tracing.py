"""Move what belongs to pixels, such as the probabilities of teachers, exactly as an augmentation moves the labels.

The labels are exchanged for the number of each pixel, digit by digit, and augmented again with the same random numbers.
So every step that moves labels moves anything else, too, and no step needs to know about it.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.void import VOID
from ensemble.data.augmentation.expression import Augment, Content, build_augmentation, describe_augmentation
from ensemble.data.windows import Pairs, TrainingImages

TRIED = 8  # images that are augmented to find out whether their pixels can be traced
TRIES = 4


def trace(augment: Augment, pairs: Pairs, generator: np.random.Generator) -> tuple[Pairs, NDArray[np.int64]]:
    """Augment images with their labels, and return where each pixel comes from.

    Args:
        augment: result of `build_augmentation`.
        pairs: images (n, h, w, bands) and labels (n, h, w).
        generator: source of all random numbers.

    Returns:
        The augmented images and labels, and the place (n, h, w) of each pixel among all pixels of the batch before; -1
        where it comes from outside of the images.

    Raises:
        EnsError: labels do not move with the places of their pixels: the augmentation draws by labels, or changes them.

    >>> flip = build_augmentation("hflip", TrainingImages(None, np.zeros(0, np.int64)))
    >>> images, labels = np.zeros((1, 1, 3, 1), np.uint8), np.array([[[0, 1, 2]]], np.uint8)
    >>> (_, moved), places = trace(flip, (images, labels), np.random.default_rng(1))
    >>> moved.ravel()[:3].tolist() == places.ravel()[:3].tolist()
    True
    """
    images_nhwc, labels_nhw = pairs
    before = deepcopy(generator)
    after = augment(images_nhwc, labels_nhw, generator)
    numbers_nhw, value = np.arange(labels_nhw.size).reshape(labels_nhw.shape), 1
    places_nhw, outside_nhw = np.zeros(labels_nhw.shape, np.int64), np.zeros(labels_nhw.shape, bool)
    while value == 1 or value < labels_nhw.size:  # digits 0 to 254; 255 is what fills pixels from outside
        digit_nhw = (numbers_nhw // value % VOID).astype(np.uint8)
        _, moved_nhw = augment(images_nhwc, digit_nhw, deepcopy(before))
        outside_nhw |= moved_nhw == VOID
        places_nhw += value * moved_nhw.astype(np.int64)
        value *= VOID
    outside_nhw |= places_nhw >= labels_nhw.size  # digits that were drawn over are no number of a pixel
    places_nhw[outside_nhw] = 0
    traced_nhw = np.where(outside_nhw, VOID, labels_nhw.ravel()[places_nhw])
    if not np.array_equal(traced_nhw, after[1]):
        raise EnsError(
            "the augmentation changes labels, or draws by them, as copy-paste does, so the probabilities of teachers"
            " cannot move with the pixels; leave out the step that does"
        )
    places_nhw[outside_nhw] = -1
    return after, places_nhw


def with_targets(
    augment: Augment, pairs: Pairs, codes_nhwk: NDArray[np.uint8], generator: np.random.Generator
) -> Pairs:
    """Augment images, labels and coded probabilities together.

    Returns:
        The images, and (n, h, w, 1 + k): the labels, then the codes; 255 where a pixel has none.
    """
    (images, labels_nhw), places_nhw = trace(augment, pairs, generator)
    moved_nhwk = codes_nhwk.reshape(-1, codes_nhwk.shape[-1])[places_nhw]
    moved_nhwk[places_nhw < 0] = VOID
    return images, np.concatenate([labels_nhw[..., None], moved_nhwk], axis=-1)


def check_traceable(content: Content, training: TrainingImages) -> None:
    """Augment some training images and check that their pixels can be traced.

    Raises:
        EnsError: they cannot; the text names the augmentation.
    """
    augment = build_augmentation(content, training)
    rows = np.unique(np.concatenate([training.rare_rows[:TRIED], training.rows[:TRIED]]))[:TRIED].tolist()
    generator = np.random.default_rng(0)
    for _ in range(TRIES):
        pairs = training.pairs(rows, [False] * len(rows), generator)
        try:
            trace(augment, pairs, generator)
        except EnsError as error:
            raise EnsError(f"{error} of '{describe_augmentation(content)}'") from None
