"""The images that a network is trained on: whole images of one size, windows of them, or images brought to one size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.threads import in_threads
from ensemble.core.units import size_name
from ensemble.core.void import VOID
from ensemble.data.dataset import Dataset
from ensemble.data.formats.image_files import resize
from ensemble.data.rarest import rarest_class_overall
from ensemble.data.soft_targets import Place, SoftTargets, Span

WHOLE_PIXELS = 512 * 512  # images of one size, up to this many pixels, are trained on as a whole
SIDE = 256  # of the windows that are chosen where nobody names a size
GRID = 32  # pixels; networks halve images at most five times
MOST_PLACES = 1 << 14  # pixels of the rarest class of an image that windows are drawn around
FINER = 2  # images of several sizes are brought to at most this many times the side of the network's input

Pairs = tuple[NDArray[np.generic], NDArray[np.uint8]]
Size = tuple[int, int]
Corner = tuple[int, int]


@dataclass(frozen=True)
class TrainingImages:
    """The training images of a fold, from which batches are drawn and from which augmentations take parts.

    Attributes:
        dataset: images and labels.
        rows: rows of the training images; never those of the validation images.
        crop: height and width of the windows; None for whole images.
        frame: height and width to which whole images of several sizes are brought; None for images of one size.
        soft: probabilities that teach a student in addition to the labels; None for other members.
    """

    dataset: Dataset
    rows: NDArray[np.int64]
    crop: Size | None = None
    frame: Size | None = None
    soft: SoftTargets | None = None
    _places: dict[int, NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def shown(self) -> NDArray[np.int64]:
        """Rows as often as an epoch shows them: so many windows that they cover the labelled area once."""
        if self.crop is None:
            return self.rows
        labelled_n = self.dataset.counts_nk[self.rows].sum(1)
        windows_n = np.rint(labelled_n / (self.crop[0] * self.crop[1])).astype(np.int64)
        return np.repeat(self.rows, np.maximum(1, windows_n))

    @cached_property
    def label(self) -> int:
        """Rarest class of what is shown."""
        return rarest_class_overall(self.dataset.counts_nk[self.shown])

    @cached_property
    def rare_rows(self) -> NDArray[np.int64]:
        """Rows with labelled pixels of the rarest class."""
        if not len(self.rows):
            return self.rows
        return self.rows[self.dataset.counts_nk[self.rows, self.label] > 0]

    def pairs(
        self, rows: Sequence[int], around: Sequence[bool], generator: np.random.Generator, margin: Size = (0, 0)
    ) -> Pairs:
        """Return images (n, h, w, bands) and labels (n, h, w), all of one size.

        The place of a window is uniform in the image. Outside of the image the pixels repeat those of its edge, and the
        labels are void. An image that is smaller than the window lies anywhere in it.

        Args:
            rows: rows of the images.
            around: for each row, whether its window holds a random pixel of the rarest class, if the image has one.
            generator: source of the random numbers; whole images need none.
            margin: rows and columns that are added at each side of a window; whole images get none.
        """
        return self.read(self.places(rows, around, generator, margin))

    def places(
        self, rows: Sequence[int], around: Sequence[bool], generator: np.random.Generator, margin: Size = (0, 0)
    ) -> list[Place]:
        """Return the windows that `pairs` draws, or the whole images."""
        if self.crop is None:
            return [Place(row) for row in rows]
        return [self._drawn(row, rare, generator, margin) for row, rare in zip(rows, around, strict=True)]

    def read(self, places: Sequence[Place]) -> Pairs:
        """Return the images (n, h, w, bands) and labels (n, h, w) at places of one size."""
        if self.crop is not None:
            pairs = in_threads(lambda one: read_window(self.dataset, one.row, one.rows, one.columns), places)
        elif self.frame is not None:
            frame = self.frame
            pairs = in_threads(
                lambda one: framed(self.dataset.image(one.row), self.dataset.label(one.row), frame), places
            )
        else:
            rows = [place.row for place in places]
            return self.dataset.images(rows), self.dataset.labels(rows)
        images, labels = zip(*pairs, strict=True)
        return np.stack(images), np.stack(labels)

    def _drawn(self, row: int, rare: bool, generator: np.random.Generator, margin: Size) -> Place:
        """Return a window of an image."""
        assert self.crop is not None
        size, pixel = self.dataset.sizes[row], None
        if rare and len(pixels := self._rare_pixels(row)):
            pixel = divmod(int(pixels[generator.integers(len(pixels))]), size[1])
        corner = draw_corner(size, self.crop, generator, pixel)
        spans = [(at - more, at + side + more) for at, side, more in zip(corner, self.crop, margin, strict=True)]
        return Place(row, spans[0], spans[1])

    def _rare_pixels(self, row: int) -> NDArray[np.int64]:
        """Return places of pixels of the rarest class, evenly thinned, so that a mask is searched once."""
        if row not in self._places:
            pixels = np.flatnonzero(self.dataset.label(row) == self.label)
            self._places[row] = pixels[:: max(1, -(-len(pixels) // MOST_PLACES))]
        return self._places[row]


def draw_corner(size: Size, crop: Size, generator: np.random.Generator, pixel: tuple[int, int] | None = None) -> Corner:
    """Return the first row and column of a random window; negative where the window is larger than the image.

    Args:
        size: height and width of the image.
        crop: height and width of the window.
        generator: source of the random numbers.
        pixel: row and column of a pixel that the window must hold.
    """
    corner: list[int] = []
    for axis, (whole, side) in enumerate(zip(size, crop, strict=True)):
        first, last = min(0, whole - side), max(0, whole - side)
        if pixel is not None:
            first, last = max(first, pixel[axis] - side + 1), min(last, pixel[axis])
        corner.append(int(generator.integers(first, last + 1)))
    return corner[0], corner[1]


def read_window(dataset: Dataset, row: int, rows: Span, columns: Span) -> Pairs:
    """Return a window of an image and its labels; outside of the image the edge is repeated, without labels."""
    inside: list[tuple[int, int]] = []
    outside: list[tuple[int, int]] = []
    for (first, end), whole in zip((rows, columns), dataset.sizes[row], strict=True):
        start, stop = max(first, 0), min(end, whole)
        assert start < stop, "a window holds a part of its image"
        inside.append((start, stop))
        outside.append((start - first, end - stop))
    image = dataset.window(row, inside[0], inside[1])
    labels = dataset.label_window(row, inside[0], inside[1])
    if not any(map(any, outside)):
        return image, labels
    return np.pad(image, [*outside, (0, 0)], mode="edge"), np.pad(labels, outside, constant_values=VOID)


def framed(image_hwc: NDArray[np.generic], labels_hw: NDArray[np.uint8], frame: Size) -> Pairs:
    """Return an image and its labels enlarged or reduced until they fill the frame; the proportions stay.

    What remains at the right or below repeats the edge and has no labels.
    """
    factor = min(whole / side for whole, side in zip(frame, labels_hw.shape, strict=True))
    size = tuple(min(whole, max(1, round(side * factor))) for whole, side in zip(frame, labels_hw.shape, strict=True))
    image = resize(image_hwc, (size[0], size[1]), cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    labels = resize(labels_hw, (size[0], size[1]), cv2.INTER_NEAREST_EXACT).astype(np.uint8)
    around = [(0, whole - side) for whole, side in zip(frame, size, strict=True)]
    return np.pad(image, [*around, (0, 0)], mode="edge"), np.pad(labels, around, constant_values=VOID)


def frame_for(dataset: Dataset, input_size: Size) -> Size | None:
    """Return the size to which whole images of several sizes are brought for training; None if they have one size.

    It has the proportions of the network's input, and its scale is that of the largest image, but at most twice that of
    the input.
    """
    if dataset.one_size is not None:
        return None
    needed = max(side / whole for size in set(dataset.sizes) for side, whole in zip(size, input_size, strict=True))
    factor = min(FINER, needed)
    return round(input_size[0] * factor), round(input_size[1] * factor)


def choose_crop(asked: Size | str | None, dataset: Dataset, input_size: Size | None) -> Size | None:
    """Return height and width of the windows to train on, or None for whole images.

    Args:
        asked: a size, ``none`` for whole images, or None to choose: whole images if they have one size of at most
            512x512 pixels, else windows of 256x256, or less where the median image is smaller.
        dataset: the data.
        input_size: size to which the network resizes whole images, or None.

    Raises:
        EnsError: whole images of several sizes without ``input_size``, a crop with it, or one that no image fills.
    """
    if input_size is not None:
        if isinstance(asked, tuple):
            raise EnsError("input_size resizes whole images, so it takes no crop; drop one, or use input_scale")
        return None
    if asked == "none":
        if dataset.one_size is None:
            raise EnsError(
                f"the images of {dataset.name} have {len(set(dataset.sizes))} different sizes, so batches of whole"
                " images need one; give input_size, such as 256x256, or crop"
            )
        return None
    largest = [max(size[axis] for size in dataset.sizes) for axis in range(2)]
    if isinstance(asked, tuple):
        if any(side > _rounded(most) for side, most in zip(asked, largest, strict=True)):
            raise EnsError(
                f"the crop {size_name(asked)} is larger than every image (at most {largest[0]} high and {largest[1]}"
                " wide); give a smaller one, or none for whole images"
            )
        return None if asked == dataset.one_size else asked
    if dataset.one_size is not None and dataset.one_size[0] * dataset.one_size[1] <= WHOLE_PIXELS:
        return None
    height, width = (min(SIDE, _rounded(float(side))) for side in np.median(dataset.sizes, axis=0))
    return height, width


def _rounded(side: float) -> int:
    """Return the next multiple of 32 pixels."""
    return math.ceil(side / GRID) * GRID


def outside_share(sizes: Sequence[Size], crop: Size) -> float:
    """Return the share of the windows of an epoch that lies outside of their images, if each image has one window."""
    inside = [math.prod(min(side, whole) for side, whole in zip(crop, size, strict=True)) for size in sizes]
    return 1 - float(np.mean(inside)) / math.prod(crop)
