"""Augmentation for a class that few images hold: its regions are pasted into other images."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.void import VOID
from ensemble.data.augmentation.mixing import Change
from ensemble.data.formats.image_files import resize
from ensemble.data.windows import Pairs, TrainingImages

CONTRAST, BRIGHTNESS = 0.3, 0.1  # largest changes of a region that is pasted with ``photometric``
ADDED_LATER = ("ring", "min_pixels", "scale", "photometric")  # options that older members do not name


class Region(NamedTuple):
    """A piece of an image: pixels (h, w, c), which of them are the region, and the share of each that is pasted."""

    image_hwc: NDArray[np.float32]
    inside_hw: NDArray[np.bool_]
    alpha_hw: NDArray[np.float32]


def copy_paste(
    *,
    count: int = 8,
    margin: int = 2,
    ring: int = 0,
    min_pixels: int = 1,
    scale: tuple[float, float] = (1.0, 1.0),
    photometric: bool = False,
) -> Change:
    """Regions of the rarest class of other training images, pasted at random places of a batch.

    A region is the connected component around a random pixel of the class in a random donor image, with a margin of
    the ground around it, flipped at random. Its centre is moved to a random labelled pixel, and then so far that the
    region fits into the image. Its brightness is shifted, band by band, so that the ground around it has the mean of
    the ground around its new place; the margin fades linearly into that ground. The labels of the region become the
    class, even on void; all other labels stay, even under the margin, but for the ring. An image without labels stays
    as it is. The images take turns: no image gets two regions before every image has one.

    Args:
        count: regions per batch, at least 1.
        margin: width of the margin in pixels, at least 0.
        ring: width in pixels of the ring around a region whose labels become void, unless they are of the class; for
            data whose masks leave the borders of objects open.
        min_pixels: pixels that a component has at least, so that specks are not pasted.
        scale: smallest and largest factor by which a region is resized, such as 0.5..2, within 0.125 to 8; its
            logarithm is uniform. No region becomes larger than the image.
        photometric: whether contrast and brightness of a region change, by up to 30 % and a tenth of the range.

    Reference: Ghiasi et al. 2021, "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation"
    (there objects of every class are pasted, resized but without matching brightness).
    """
    _check(count, margin, ring, min_pixels, scale)
    low, high = scale

    def change(
        images_nhwc: NDArray[np.generic],
        labels_nhw: NDArray[np.uint8],
        generator: np.random.Generator,
        donors: TrainingImages,
    ) -> Pairs:
        images, labels = images_nhwc.copy(), labels_nhw.copy()
        if not len(donors.rare_rows):
            return images, labels
        rows = generator.choice(_donor_rows(donors, min_pixels), count).tolist()
        takers = np.resize(generator.permutation(len(images)), count)
        given_nhwc, given_nhw = donors.pairs(rows, [True] * count, generator)
        for image, mask, taker in zip(given_nhwc, given_nhw == donors.label, takers, strict=True):
            large = mask if min_pixels == 1 else large_components(mask, min_pixels)
            if not large.any():  # an image that was reduced may have lost its only pixel
                continue
            factor = 1.0 if low == high == 1 else math.exp(generator.uniform(math.log(low), math.log(high)))
            region = cut_region(image, large, margin, generator, factor)
            light = _light(generator, image.dtype == np.uint8) if photometric else (1.0, 0.0)
            paste_region(images[taker], labels[taker], region, donors.label, generator, ring, light)
        return images, labels

    return change


def _check(count: int, margin: int, ring: int, min_pixels: int, scale: tuple[float, ...]) -> None:
    if count < 1 or margin < 0:
        raise EnsError(
            f"expected count >= 1 and margin >= 0 for 'copy-paste', got count={count}, margin={margin}; change them"
        )
    if ring < 0 or min_pixels < 1:
        raise EnsError(
            f"expected ring >= 0 and min_pixels >= 1 for 'copy-paste', got ring={ring}, min_pixels={min_pixels};"
            " change them"
        )
    if len(scale) != 2 or not 0.125 <= scale[0] <= scale[1] <= 8:
        given = "..".join(f"{factor:g}" for factor in scale)
        raise EnsError(
            f"expected two factors from 0.125 to 8 as scale for 'copy-paste', got {given}; write for example 0.5..2"
        )


def _donor_rows(donors: TrainingImages, min_pixels: int) -> NDArray[np.int64]:
    """Return the rows that may have a component of the rarest class with so many pixels."""
    counts = donors.dataset.counts_nk[donors.rare_rows, donors.label]
    if not (counts >= min_pixels).any():
        raise EnsError(
            f"expected a training image with min_pixels={min_pixels} pixels of the rarest class for 'copy-paste', got"
            f" at most {int(counts.max())}; use a smaller min_pixels"
        )
    return donors.rare_rows[counts >= min_pixels]


def _light(generator: np.random.Generator, whole: bool) -> tuple[float, float]:
    """Return a factor for the contrast of a region, and what is added to it."""
    contrast = 1 + generator.uniform(-CONTRAST, CONTRAST)
    return contrast, generator.uniform(-BRIGHTNESS, BRIGHTNESS) * (255 if whole else 1)


def large_components(mask_hw: NDArray[np.bool_], min_pixels: int) -> NDArray[np.bool_]:
    """Return the pixels of ``mask_hw`` whose connected component (8 neighbours) has at least ``min_pixels``."""
    components: Any = cv2.connectedComponents(mask_hw.astype(np.uint8), connectivity=8)[1]
    return mask_hw & (np.bincount(components.ravel()) >= min_pixels)[components]


def cut_region(
    image_hwc: NDArray[np.generic],
    mask_hw: NDArray[np.bool_],
    margin: int,
    generator: np.random.Generator,
    factor: float = 1.0,
) -> Region:
    """Cut out the connected component around a random pixel of ``mask_hw``, with a margin, flipped at random.

    Pixels of the mask that belong to other components but lie in the same rectangle are part of the region. A region
    that is resized by ``factor`` has its margin afterwards, and is no larger than the image.
    """
    pixels = np.flatnonzero(mask_hw)
    _, components = cv2.connectedComponents(mask_hw.astype(np.uint8), connectivity=8)
    own = components == components.flat[pixels[generator.integers(len(pixels))]]
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    around = math.ceil(margin / factor)
    window = (
        slice(max(0, int(rows[0]) - around), int(rows[-1]) + around + 1),
        slice(max(0, int(columns[0]) - around), int(columns[-1]) + around + 1),
    )
    steps = tuple(slice(None, None, -1 if flipped else 1) for flipped in generator.random(2) < 0.5)
    image = image_hwc[window][steps].astype(np.float32)
    inside = np.ascontiguousarray(mask_hw[window][steps])
    if factor != 1:
        image, inside = _resized(image, inside, factor, mask_hw.shape)
    distance = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    alpha = np.clip(1 - distance / (margin + 1), 0, 1).astype(np.float32)
    return Region(image, inside, alpha)


def _resized(
    image_hwc: NDArray[np.float32], inside_hw: NDArray[np.bool_], factor: float, most: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a piece resized by ``factor``, or by as much as fits into ``most``; a region keeps one pixel at least."""
    factor = min(factor, *(limit / side for limit, side in zip(most, inside_hw.shape, strict=True)))
    height, width = (max(1, round(side * factor)) for side in inside_hw.shape)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    image = resize(image_hwc, (height, width), how).astype(np.float32)
    share = resize(inside_hw.astype(np.float32), (height, width), how).astype(np.float32)
    return image, share >= min(0.5, float(share.max()))


def paste_region(
    image_hwc: NDArray[np.generic],
    labels_hw: NDArray[np.uint8],
    region: Region,
    label: int,
    generator: np.random.Generator,
    ring: int = 0,
    light: tuple[float, float] = (1.0, 0.0),
) -> None:
    """Paste a region, no larger than the image, into ``image_hwc`` and ``labels_hw`` in place, see ``copy_paste``.

    Args:
        image_hwc: the image.
        labels_hw: its labels.
        region: what is pasted.
        label: its class.
        generator: source of the random place.
        ring: see ``copy_paste``.
        light: factor for the difference between the region and the ground, and what is added to the region.
    """
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
    if light != (1.0, 0.0):
        contrast, shift = (np.float32(value) for value in light)
        mean = there[ground].mean(0) if ground.any() else new[region.inside_hw].mean(0)
        new = mean + contrast * (new - mean) + shift
    mixed = there + region.alpha_hw[..., None] * (new - there)
    image_hwc[window] = np.rint(mixed.clip(0, 255)) if image_hwc.dtype == np.uint8 else mixed.clip(0, 1)
    labels_hw[window][region.inside_hw] = label
    if ring:
        _open_ring(labels_hw, window, region.inside_hw, label, ring)


def _open_ring(
    labels_hw: NDArray[np.uint8], window: tuple[slice, ...], inside_hw: NDArray[np.bool_], label: int, ring: int
) -> None:
    """Make the labels void that lie within ``ring`` pixels of the region and are not of the class, in place."""
    starts = [max(0, part.start - ring) for part in window]
    wider = labels_hw[tuple(slice(start, part.stop + ring) for start, part in zip(starts, window, strict=True))]
    outside = np.ones(wider.shape, np.uint8)
    place = tuple(slice(part.start - start, part.stop - start) for start, part in zip(starts, window, strict=True))
    outside[place] = ~inside_hw
    distance: Any = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    wider[(distance <= ring) & (wider != label)] = VOID
