"""Augmentations that mix images: regions of the rarest class pasted in, and rectangles swapped within a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.void import VOID
from ensemble.data.windows import Pairs, TrainingImages

# (images (n, h, w, c), labels (n, h, w), generator, training images) -> new images and labels, of the same shapes and
# types.
Change = Callable[[NDArray[np.generic], NDArray[np.uint8], np.random.Generator, TrainingImages], Pairs]


class Region(NamedTuple):
    """A piece of an image: pixels (h, w, c), which of them are the region, and the share of each that is pasted."""

    image_hwc: NDArray[np.float32]
    inside_hw: NDArray[np.bool_]
    alpha_hw: NDArray[np.float32]


def copy_paste(*, count: int = 8, margin: int = 2) -> Change:
    """Regions of the rarest class of other training images, pasted at random places of a batch.

    A region is the connected component around a random pixel of the class in a random donor image, with a margin of
    the ground around it, flipped at random. Its centre is moved to a random labelled pixel, and then so far that the
    region fits into the image. Its brightness is shifted, band by band, so that the ground around it has the mean of
    the ground around its new place; the margin fades linearly into that ground. The labels of the region become the
    class, even on void; all other labels stay, even under the margin. An image without labels stays as it is. The
    images take turns: no image gets two regions before every image has one.

    Args:
        count: regions per batch, at least 1.
        margin: width of the margin in pixels, at least 0.

    Reference: Ghiasi et al. 2021, "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation"
    (there objects of every class are pasted, without matching brightness).
    """
    if count < 1 or margin < 0:
        raise EnsError(
            f"expected count >= 1 and margin >= 0 for 'copy-paste', got count={count}, margin={margin}; change them"
        )

    def change(
        images_nhwc: NDArray[np.generic],
        labels_nhw: NDArray[np.uint8],
        generator: np.random.Generator,
        donors: TrainingImages,
    ) -> Pairs:
        images, labels = images_nhwc.copy(), labels_nhw.copy()
        if not len(donors.rare_rows):
            return images, labels
        rows = generator.choice(donors.rare_rows, count).tolist()
        takers = np.resize(generator.permutation(len(images)), count)
        given_nhwc, given_nhw = donors.pairs(rows, [True] * count, generator)
        for image, mask, taker in zip(given_nhwc, given_nhw == donors.label, takers, strict=True):
            if mask.any():  # an image that was reduced may have lost its only pixel
                region = cut_region(image, mask, margin, generator)
                paste_region(images[taker], labels[taker], region, donors.label, generator)
        return images, labels

    return change


def cut_region(
    image_hwc: NDArray[np.generic], mask_hw: NDArray[np.bool_], margin: int, generator: np.random.Generator
) -> Region:
    """Cut out the connected component around a random pixel of ``mask_hw``, with a margin, flipped at random.

    Pixels of the mask that belong to other components but lie in the same rectangle are part of the region.
    """
    pixels = np.flatnonzero(mask_hw)
    _, components = cv2.connectedComponents(mask_hw.astype(np.uint8), connectivity=8)
    own = components == components.flat[pixels[generator.integers(len(pixels))]]
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    window = (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )
    steps = tuple(slice(None, None, -1 if flipped else 1) for flipped in generator.random(2) < 0.5)
    inside = np.ascontiguousarray(mask_hw[window][steps])
    distance = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    alpha = np.clip(1 - distance / (margin + 1), 0, 1).astype(np.float32)
    return Region(image_hwc[window][steps].astype(np.float32), inside, alpha)


def paste_region(
    image_hwc: NDArray[np.generic],
    labels_hw: NDArray[np.uint8],
    region: Region,
    label: int,
    generator: np.random.Generator,
) -> None:
    """Paste a region, no larger than the image, into ``image_hwc`` and ``labels_hw`` in place, see ``copy_paste``."""
    labelled = np.flatnonzero(labels_hw != VOID)
    if not len(labelled):
        return
    centre = np.unravel_index(labelled[generator.integers(len(labelled))], labels_hw.shape)
    sizes = region.inside_hw.shape
    starts = [
        int(np.clip(at - size // 2, 0, whole - size))
        for at, size, whole in zip(centre, sizes, labels_hw.shape, strict=True)
    ]
    window = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    there = image_hwc[window].astype(np.float32)
    ground = ~region.inside_hw & (labels_hw[window] != VOID)
    new = region.image_hwc
    if ground.any():
        new = new + there[ground].mean(0) - region.image_hwc[~region.inside_hw].mean(0)
    mixed = there + region.alpha_hw[..., None] * (new - there)
    image_hwc[window] = np.rint(mixed.clip(0, 255)) if image_hwc.dtype == np.uint8 else mixed.clip(0, 1)
    labels_hw[window][region.inside_hw] = label


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
