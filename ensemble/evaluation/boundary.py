"""Measure whether class boundaries are in the right place: the boundary F1 score, from counts that add up over images.

A boundary pixel of a class has a neighbour of another class above, below, left or right of it. Both must be labelled.
Next to void and at the margin of an image the other class is unknown, so no boundary is counted there.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import Counts, Floats, divide_or_nan
from ensemble.evaluation.void import VOID, decided, labelled

SHARE_OF_DIAGONAL = 0.0075
"""Distance, as a share of the image diagonal, up to which two boundaries count as the same one."""

FOLLOWED = 12
"""Largest distance in pixels whose disc is followed step by step; beyond it, a map of all distances is faster."""

FIRST = 29
"""Steps after which it is decided whether to follow the rest: those up to 3 pixels."""

MAP_STEPS = 12
"""Steps that take as long as a map of distances, per pixel of a map."""


def boundary_counts(
    labels_nhw: NDArray[np.integer[Any]],
    predictions_nhw: NDArray[np.integer[Any]],
    classes: int,
    distance: float | None = None,
) -> NDArray[np.int64]:
    """Count the boundary pixels of each class, and those that are close to the other boundary of that class.

    Args:
        labels_nhw: class numbers 0..classes-1, 255 where void.
        predictions_nhw: class numbers 0..classes-1; any value where the label is void.
        classes: number of classes K.
        distance: Euclidean distance in pixels, included, up to which a boundary pixel is matched; by default 0.75 % of
            the image diagonal, and at least 1.

    Returns:
        (n, classes, 4) int64: predicted boundary pixels that are matched, predicted ones, true ones that are matched,
        true ones. Tables of images add up.

    Raises:
        EnsError: shapes differ, labels are out of range, predictions are out of range on labelled pixels, or a negative
            distance.

    Reference:
        Csurka, Larlus and Perronnin, What is a Good Evaluation Measure for Semantic Segmentation?, 2013, section 3.

    >>> labels, predictions = np.array([[[0, 0, 0, 1, 1, 255]]]), np.array([[[0, 0, 1, 1, 1, 0]]])
    >>> boundary_counts(labels, predictions, classes=2).tolist()
    [[[1, 1, 1, 1], [1, 1, 1, 1]]]
    >>> boundary_counts(labels, predictions, classes=2, distance=0.5).tolist()
    [[[0, 1, 0, 1], [0, 1, 0, 1]]]
    """
    known_nhw = labelled(labels_nhw, classes)
    height, width = labels_nhw.shape[1:]
    reach = default_distance(height, width) if distance is None else distance
    if not 0 <= reach < math.inf:
        raise EnsError(f"expected a distance in pixels of at least 0, got {reach}")
    guess_nhw = decided(predictions_nhw, known_nhw, classes)
    return count_boundaries(labels_nhw, guess_nhw, known_nhw, classes, reach)


def default_distance(height: int, width: int) -> float:
    """Return the distance in pixels up to which two boundaries in an image of this size count as the same one."""
    return max(1.0, SHARE_OF_DIAGONAL * math.hypot(height, width))


def count_boundaries(
    labels_nhw: NDArray[np.integer[Any]],
    guess_nhw: NDArray[np.integer[Any]],
    known_nhw: NDArray[np.bool_],
    classes: int,
    reach: float,
    inside: slice = slice(None),
) -> NDArray[np.int64]:
    """Return the counts of `boundary_counts` for checked arrays, of the boundary pixels in the rows ``inside``.

    The other rows are only what these are matched with.
    """
    height, width = labels_nhw.shape[1:]
    margin = min(int(min(reach, FOLLOWED)), max(height, width))
    truth, guess = (_boundaries(classes_nhw, known_nhw, margin) for classes_nhw in (labels_nhw, guess_nhw))
    steps = _disc(min(reach, FOLLOWED), margin) @ [truth.shape[2], 1]  # in the flattened array
    rows = slice(*(margin + row for row in inside.indices(height)[:2]))
    counts = [_matched(mine, other, classes, steps, reach, rows) for mine, other in ((guess, truth), (truth, guess))]
    return np.concatenate(counts, axis=-1)


def _boundaries(classes_nhw: NDArray[np.integer[Any]], known_nhw: NDArray[np.bool_], margin: int) -> NDArray[np.uint8]:
    """Return the class of each boundary pixel and 255 elsewhere, with a margin of 255 around each image."""
    count, height, width = classes_nhw.shape
    boundary_nhw = np.zeros(classes_nhw.shape, bool)
    for one, next_one in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1])):
        differ = (classes_nhw[one] != classes_nhw[next_one]) & known_nhw[one] & known_nhw[next_one]
        boundary_nhw[one] |= differ
        boundary_nhw[next_one] |= differ
    padded = np.full((count, height + 2 * margin, width + 2 * margin), VOID, np.uint8)
    inner = padded[:, margin : margin + height, margin : margin + width]
    np.copyto(inner, classes_nhw, where=boundary_nhw, casting="unsafe")
    return padded


def _disc(reach: float, margin: int) -> NDArray[np.int64]:
    """Return the steps (rows, columns) up to the length ``reach``, the shortest ones first."""
    steps = np.stack(np.meshgrid(*2 * [np.arange(-margin, margin + 1)], indexing="ij"), axis=-1).reshape(-1, 2)
    squares = (steps**2).sum(axis=1)
    order = np.argsort(squares, kind="stable")
    return steps[order[squares[order] <= reach**2]]


def _matched(
    mine: NDArray[np.uint8], other: NDArray[np.uint8], classes: int, steps: NDArray[np.int64], reach: float, rows: slice
) -> NDArray[np.int64]:
    """Count per image and class (n, k, 2): pixels of ``mine`` that are close to their class in ``other``, and all.

    Boundaries are thin and mostly close to each other, so following pixels is faster than a map of distances per class,
    unless many of them find nothing.
    """
    size, shape = math.prod(mine.shape[1:]), (len(mine), classes)
    mine_p, other_p = mine.ravel(), other.ravel()

    def count(place: NDArray[np.intp], of: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.bincount(place // size * classes + of[place], minlength=shape[0] * classes).astype(np.int64)

    left = np.flatnonzero(mine_p != VOID)
    row_p = left % size // mine.shape[2]
    left = left[(row_p >= rows.start) & (row_p < rows.stop)]
    every, theirs = count(left, mine_p), count(np.flatnonzero(other_p != VOID), other_p)
    left = left[theirs[left // size * classes + mine_p[left]] > 0]  # the other boundary does not have their class
    lost, far = left, reach > FOLLOWED
    for number, step in enumerate(steps):
        if number == FIRST and len(lost) * (len(steps) - FIRST) > MAP_STEPS * classes * mine.size:
            far = True
            break
        lost = lost[other_p[lost + step] != mine_p[lost]]
    matched = count(left, mine_p) - count(lost, mine_p)
    if far:
        matched += _matched_far(lost, mine, other, classes, reach)
    return np.stack([matched.reshape(shape), every.reshape(shape)], axis=-1)


def _matched_far(
    left: NDArray[np.intp], mine: NDArray[np.uint8], other: NDArray[np.uint8], classes: int, reach: float
) -> NDArray[np.int64]:
    """Count per image and class (n * k) the pixels ``left`` over that are close to their class in ``other``.

    A large disc has too many pixels to follow, so the distance of every pixel around them to the class is computed.
    """
    (_, _, width), margin = mine.shape, int(reach)
    most = math.sqrt(math.floor(reach**2) + 0.5)  # squares of distances are whole numbers, so rounding changes nothing
    code_p = left // mine[0].size * classes + mine.ravel()[left]
    matched = np.zeros(len(mine) * classes, np.int64)
    for code in np.flatnonzero(np.bincount(code_p)).tolist():
        row, column = np.divmod(left[code_p == code] % mine[0].size, width)
        top, start = max(0, row.min() - margin), max(0, column.min() - margin)
        image, k = divmod(code, classes)
        others = other[image, top : row.max() + margin + 1, start : column.max() + margin + 1] != k
        if not others.all():
            away_hw = cv2.distanceTransform(others.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            matched[code] = np.count_nonzero(away_hw[row - top, column - start] <= most)
    return matched


def boundary_f1(counts: Counts) -> Floats:
    r"""Return the boundary F1 of each class, :math:`2 P R / (P + R)`.

    The precision P is the share of the predicted boundary pixels that are matched, the recall R that of the true ones.

    Args:
        counts: (..., k, 4) from `boundary_counts`, summed over images: it is a score of a data set.

    Returns:
        (..., k) in [0, 1]; 0 if the prediction has no boundary, NaN if the truth has none.

    Raises:
        EnsError: the last axis does not hold the four counts.

    Reference:
        Csurka, Larlus and Perronnin, What is a Good Evaluation Measure for Semantic Segmentation?, 2013, section 3
        (it averages the F1 of single images).

    >>> boundary_f1(np.array([[3, 4, 6, 12], [0, 5, 0, 0]])).tolist()
    [0.6, nan]
    """
    if counts.ndim < 2 or counts.shape[-1] != 4:
        raise EnsError(f"expected counts (..., classes, 4) from boundary_counts(), got shape {counts.shape}")
    hit_guess, guess, hit_truth, truth = np.moveaxis(counts.astype(np.float64), -1, 0)
    # 2 P R / (P + R) without dividing by a P or R of 0.
    harmonic = divide_or_nan(2 * hit_guess * hit_truth, hit_guess * truth + hit_truth * guess)
    return np.where(truth > 0, np.nan_to_num(harmonic), np.nan)
