"""Count objects: are the connected regions of each class found, and are the predicted ones right?

An object of a class is a connected set of labelled pixels of that class; pixels that share a corner are connected. Void
belongs to no object. It cuts predicted objects as it cuts true ones, so no prediction under void reaches a score, and
each side of an object that void divides is an object. Objects at void or at the margin of the image count as the part
that is seen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import Counts, Floats, divide_or_nan
from ensemble.evaluation.void import VOID, decided, labelled

SIZES = {"tiny": 0, "small": 10**2, "medium": 32**2, "large": 96**2}
"""Sizes of objects: the fewest pixels of each. Medium and large are those of COCO; its small ones are divided."""

LEAST_IOU = 0.5
"""IoU from which a predicted object is taken for a true one.

No object has two partners then: both would hold half of it and nothing else, so they would touch and be one object.
Below 1/2 the partners would depend on the order in which they are chosen.
"""


class Runs(NamedTuple):
    """Rows of class maps as runs of one value, which take little memory and are few to connect.

    Attributes:
        starts: place of the first pixel of each run among all pixels, row after row and image after image.
        values: class of each run, 255 for void.
    """

    starts: NDArray[np.intp]
    values: NDArray[np.uint8]

    @classmethod
    def of(cls, classes_nhw: NDArray[np.integer[Any]]) -> Runs:
        """Return the runs of maps in which void is 255.

        >>> [part.tolist() for part in Runs.of(np.array([[[0, 0, 1], [1, 1, 1]]]))]
        [[0, 2, 3], [0, 1, 1]]
        """
        is_start = np.ones(classes_nhw.shape, bool)
        np.not_equal(classes_nhw[..., 1:], classes_nhw[..., :-1], out=is_start[..., 1:])
        starts = np.flatnonzero(is_start)
        return cls(starts, classes_nhw.ravel()[starts].astype(np.uint8))

    def at(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the number of the run that holds each pixel."""
        return np.searchsorted(self.starts, places, side="right") - 1

    def objects(self, height: int, width: int) -> NDArray[np.int32]:
        """Return the number of the object that each run is part of; void runs get numbers, too."""
        from scipy.sparse import coo_array  # noqa: PLC0415  (importing ensemble.evaluation needs NumPy only)
        from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

        count, row = len(self.starts), self.starts // width
        upper = np.flatnonzero((row + 1) % height != 0)  # rows that have a next one in their image
        left, below = self.starts[upper] % width, (row[upper] + 1) * width
        right = (
            np.append(self.starts, self.starts[-1:] + width)[upper + 1] - row[upper] * width
        )  # the first pixel after
        first = self.at(below + np.maximum(left - 1, 0))
        touched = self.at(below + np.minimum(right, width - 1)) - first + 1
        one = np.repeat(upper, touched)
        other = np.arange(len(one)) + np.repeat(first - np.cumsum(touched) + touched, touched)
        alike = self.values[one] == self.values[other]
        links = coo_array((np.ones(alike.sum(), bool), (one[alike], other[alike])), shape=(count, count))
        return connected_components(links, directed=False)[1]


def object_counts(
    labels_nhw: NDArray[np.integer[Any]],
    predictions_nhw: NDArray[np.integer[Any]],
    classes: int,
    least_iou: float = LEAST_IOU,
) -> NDArray[np.int64]:
    """Count the objects of each class by size, and those that have a partner: an object with an IoU of ``least_iou``.

    Args:
        labels_nhw: class numbers 0..classes-1, 255 where void.
        predictions_nhw: class numbers 0..classes-1; any value where the label is void.
        classes: number of classes K.
        least_iou: smallest IoU of a true and a predicted object that are partners, at least 0.5.

    Returns:
        (n, classes, sizes, 4) int64: predicted objects that are right, predicted ones, true objects that are found,
        true ones. Each object is counted under its own size (see `SIZES`). Tables of images add up.

    Raises:
        EnsError: shapes differ, labels are out of range, predictions are out of range on labelled pixels, or
            ``least_iou`` is not between 0.5 and 1.

    Reference:
        Kirillov et al., Panoptic Segmentation, 2019, section 4 (partners are unique; F1 is its recognition quality);
        Lin et al., Microsoft COCO, 2014 (sizes).

    >>> labels, predictions = np.array([[[1, 1, 0, 0, 1]]]), np.array([[[1, 0, 0, 0, 0]]])
    >>> object_counts(labels, predictions, classes=2).sum((0, 2)).tolist()  # half of the first one is found
    [[1, 1, 1, 1], [1, 1, 1, 2]]
    """
    if not LEAST_IOU <= least_iou <= 1:
        raise EnsError(f"expected an IoU between {LEAST_IOU} and 1, got {least_iou}; below, partners are not unique")
    known_nhw = labelled(labels_nhw, classes)
    guess_nhw = decided(predictions_nhw, known_nhw, classes)
    true, guess = Runs.of(labels_nhw), Runs.of(np.where(known_nhw, guess_nhw, VOID))
    return count_objects(true, guess, labels_nhw.shape, classes, least_iou)


def count_objects(
    true: Runs, guess: Runs, shape: tuple[int, ...], classes: int, least_iou: float = LEAST_IOU
) -> NDArray[np.int64]:
    """Return the counts of `object_counts` for the runs of images (n, h, w); both maps have the same void."""
    images, height, width = shape
    if not images * height * width:
        return np.zeros((images, classes, len(SIZES), 4), np.int64)
    end = images * height * width
    sides: list[tuple[Runs, NDArray[np.int32], NDArray[np.intp]]] = []
    for runs in (guess, true):
        objects = runs.objects(height, width)
        sides.append((runs, objects, np.bincount(objects, np.diff(runs.starts, append=end)).astype(np.intp)))
    one, other, shared = _overlaps(guess, true, sides[0][1], sides[1][1], end)
    partners = shared >= least_iou * (sides[0][2][one] + sides[1][2][other] - shared)
    parts = [
        _by_size(runs, objects, area, matched[partners], (images, classes), height * width)
        for (runs, objects, area), matched in zip(sides, (one, other), strict=True)
    ]
    return np.concatenate(parts, axis=-1)


def _overlaps(
    guess: Runs, true: Runs, guess_objects: NDArray[np.int32], true_objects: NDArray[np.int32], end: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the pairs of objects of one class that share pixels, and the number of pixels that they share."""
    both = np.sort(np.concatenate([guess.starts, true.starts]), kind="stable")  # np.union1d is ten times slower
    starts = both[np.diff(both, prepend=-1) > 0]
    lengths, run, true_run = np.diff(starts, append=end), guess.at(starts), true.at(starts)
    alike = (guess.values[run] == true.values[true_run]) & (true.values[true_run] != VOID)
    factor = int(true_objects.max()) + 1
    pair = guess_objects[run[alike]].astype(np.intp) * factor + true_objects[true_run[alike]]
    pairs, place = np.unique(pair, return_inverse=True)
    shared = np.bincount(place, lengths[alike], minlength=len(pairs)).astype(np.intp)
    return pairs // factor, pairs % factor, shared


def _by_size(
    runs: Runs,
    objects: NDArray[np.int32],
    area: NDArray[np.intp],
    matched: NDArray[np.intp],
    shape: tuple[int, int],
    size: int,
) -> NDArray[np.int64]:
    """Count the objects with a partner and all objects, per image, class and size: (n, classes, sizes, 2)."""
    (images, classes), value, image = shape, np.empty(len(area), np.intp), np.empty(len(area), np.intp)
    value[objects], image[objects] = runs.values, runs.starts // size
    bin_of = np.searchsorted(list(SIZES.values()), area, side="right") - 1
    cell = (image * classes + value) * len(SIZES) + bin_of
    cells = images * classes * len(SIZES)
    counts = [np.bincount(cell[which], minlength=cells) for which in (matched, value != VOID)]
    return np.stack(counts, axis=-1).reshape(images, classes, len(SIZES), 2).astype(np.int64)


ADDED = 1.0
"""Objects that are added to both sides, half of them found, for intervals of differences.

A score of exactly 0 has no spread. Without the added objects, a system that finds one object of a class would therefore
always differ significantly from one that finds none. How often equal systems still seem to differ:
experiments/results/object-scores.csv.
"""


def object_recall(counts: Counts, added: float = 0.0) -> Floats:
    """Return the share of the true objects that are found, from `object_counts` (..., 4); NaN without true objects.

    Args:
        counts: sums over images, and over sizes unless a score per size is wanted: (..., 4).
        added: see `ADDED`.

    >>> object_recall(np.array([[3, 4, 3, 12], [0, 5, 0, 0]])).tolist()
    [0.25, nan]
    """
    _, _, found, true = _floats(counts)
    return divide_or_nan(found + added / 2, np.where(true > 0, true + added, 0.0))


def object_precision(counts: Counts) -> Floats:
    """Return the share of the predicted objects that are right, from `object_counts` (..., 4).

    It is NaN if no object is predicted, or the truth has none.

    >>> object_precision(np.array([[3, 4, 3, 12], [0, 5, 0, 0]])).tolist()
    [0.75, nan]
    """
    right, predicted, _, true = _floats(counts)
    return divide_or_nan(right, np.where(true > 0, predicted, 0.0))


def object_f1(counts: Counts, added: float = 0.0) -> Floats:
    """Return the F1 of the objects, ``2 right / (predicted + true)``; NaN without true objects.

    Sum the counts over sizes first: partners may differ in size. For ``added`` see `ADDED`.

    >>> object_f1(np.array([[3, 4, 3, 12], [0, 5, 0, 0]])).tolist()
    [0.375, nan]
    """
    right, predicted, _, true = _floats(counts)
    return divide_or_nan(2 * right + added, np.where(true > 0, predicted + true + 2 * added, 0.0))


def _floats(counts: Counts) -> Floats:
    if counts.ndim < 1 or counts.shape[-1] != 4:
        raise EnsError(f"expected counts (..., 4) from object_counts(), got shape {counts.shape}")
    return np.moveaxis(counts.astype(np.float64), -1, 0)
