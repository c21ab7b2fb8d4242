"""Confusion matrices per image, and the scores that follow from them.

A matrix has a row per true class and a column per predicted class. It may have one column more than rows: the last
one then counts labelled pixels that a member with a background output channel gave to the background.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.void import decided, labelled

Counts = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]
Floats = NDArray[np.float64]


def confusion_per_image(
    labels_nhw: NDArray[np.integer[Any]],
    predictions_nhw: NDArray[np.integer[Any]],
    classes: int,
    predicted: int | None = None,
) -> NDArray[np.int64]:
    """Count pixels by true and predicted class, one matrix per image; void pixels are never counted.

    ``confusion[n, i, j]`` is the number of pixels of image n with label i and prediction j.

    Args:
        labels_nhw: class numbers 0..classes-1, 255 where void.
        predictions_nhw: class numbers 0..predicted-1; any value where the label is void.
        classes: number of classes K.
        predicted: number of prediction columns, by default ``classes``; ``classes + 1`` for a member whose output
            channel ``classes`` is the background.

    Returns:
        (n, classes, predicted) int64.

    Raises:
        EnsError: shapes differ, labels are out of range, or predictions are out of range on labelled pixels.

    >>> confusion_per_image(np.array([[[0, 1], [1, 255]]]), np.array([[[0, 0], [1, 1]]]), classes=2).tolist()
    [[[1, 0], [1, 1]]]
    """
    columns = classes if predicted is None else predicted
    if columns < classes:
        raise EnsError(f"expected at least {classes} prediction columns for {classes} classes, got {columns}")
    mask_nhw = labelled(labels_nhw, classes)
    guess_nhw = decided(predictions_nhw, mask_nhw, columns)
    confusion_nkp = np.empty((len(labels_nhw), classes, columns), dtype=np.int64)
    # Image by image stays in the processor's cache: as fast as one bincount over the batch, without its index arrays.
    for image, mask_hw in enumerate(mask_nhw):
        cell_hw = labels_nhw[image].astype(np.intp) * columns + guess_nhw[image]
        cell_hw[~mask_hw] = classes * columns  # one cell more, which takes the void
        cells = np.bincount(cell_hw.ravel(), minlength=classes * columns + 1)[:-1]
        confusion_nkp[image] = cells.reshape(classes, columns)
    return confusion_nkp


def class_counts(confusion: Counts) -> Floats:
    """Count the pixels of each class: in truth and prediction at once, in either of them, and in the truth.

    ``hits_i = C_ii``, ``union_i = sum_j C_ij + sum_j C_ji - C_ii``, ``truth_i = sum_j C_ij``. All three are linear in
    the matrix, so they may be added up over images before `iou_of` and `dice_of` divide.

    Args:
        confusion: (..., k, p) pixel counts, p >= k; may be weighted.

    Returns:
        (..., 3, k) float64.

    Raises:
        EnsError: the last two axes are not (k, p) with p >= k.

    >>> class_counts(np.array([[1, 0], [1, 2]])).tolist()
    [[1.0, 2.0], [2.0, 3.0], [1.0, 3.0]]
    """
    if confusion.ndim < 2 or confusion.shape[-1] < confusion.shape[-2]:
        raise EnsError(
            "expected confusion matrices (..., classes, predicted) with at least as many columns as rows, "
            f"got shape {confusion.shape}"
        )
    counts = confusion.astype(np.float64)
    hits, truth = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1)
    union = truth + counts.sum(axis=-2)[..., : counts.shape[-2]] - hits
    return np.stack([hits, union, truth], axis=-2)


def iou_of(counts_3k: Floats) -> Floats:
    """Return the IoU of each class from `class_counts` (..., 3, k): hits / union, NaN if the class is not in the truth.

    Whether a class has an IoU depends on the truth alone. So two systems on the same images, or on the same resample of
    them, are always scored on the same classes, and nobody gains or loses a class by predicting a pixel of it.
    """
    hits, union, truth = np.moveaxis(counts_3k, -2, 0)
    return divide_or_nan(hits, np.where(truth > 0, union, 0.0))


def dice_of(counts_3k: Floats) -> Floats:
    """Return the Dice coefficient of each class from `class_counts`; NaN if the class is not in the truth."""
    hits, union, truth = np.moveaxis(counts_3k, -2, 0)
    return divide_or_nan(2 * hits, np.where(truth > 0, union + hits, 0.0))


def divide_or_nan(numerator: Floats, denominator: Floats) -> Floats:
    """Return ``numerator / denominator`` if the denominator is positive and NaN if not, without a warning."""
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)


def mean_present(values: Floats) -> Floats:
    """Return the mean over the last axis of the values that are not NaN; NaN if all values are NaN."""
    present = ~np.isnan(values)
    return divide_or_nan(np.where(present, values, 0.0).sum(axis=-1), present.sum(axis=-1).astype(np.float64))


def with_mean(values_k: Floats) -> Floats:
    """Put the mean over the classes that are present (see `mean_present`) before the values: (..., k) to (..., 1 + k).

    >>> with_mean(np.array([0.5, np.nan, 1.0])).tolist()
    [0.75, 0.5, nan, 1.0]
    """
    return np.concatenate([mean_present(values_k)[..., None], values_k], axis=-1)


def with_mean_of(values_k: Floats, common_k: NDArray[np.bool_]) -> Floats:
    """Put the mean over all classes before the values and that over some behind them: (..., k) to (..., k + 2).

    >>> with_mean_of(np.array([0.5, 0.0, 1.0]), np.array([True, False, True])).tolist()
    [0.5, 0.5, 0.0, 1.0, 0.75]
    """
    return np.concatenate([with_mean(values_k), mean_present(values_k[..., common_k])[..., None]], axis=-1)


def iou_per_class(confusion: Counts) -> Floats:
    """Return the intersection over union of each class, ``C_ii / (sum_j C_ij + sum_j C_ji - C_ii)``.

    Args:
        confusion: (..., k, p) pixel counts. A column beyond the classes counts as missed pixels.

    Returns:
        (..., k) in [0, 1]; NaN if a class is absent from the truth, whatever is predicted.

    Raises:
        EnsError: the last two axes are not (k, p) with p >= k.

    Reference:
        Everingham et al., The Pascal Visual Object Classes Challenge: A Retrospective, 2015, section 4.2.

    >>> iou_per_class(np.array([[1, 1], [0, 2]])).round(4).tolist()
    [0.5, 0.6667]
    """
    return iou_of(class_counts(confusion))


def mean_iou(confusion: Counts) -> Floats:
    """Return the mean IoU over the classes in the truth; a class that is absent from it is left out.

    A pixel that is predicted as an absent class still counts: it is a missed pixel of its true class.

    Args:
        confusion: (..., k, p) pixel counts. Sum over images first: the score is one of a data set, not of an image.

    Returns:
        (...) in [0, 1]; NaN where no pixel is labelled.

    Raises:
        EnsError: the last two axes are not (k, p) with p >= k.

    >>> float(mean_iou(np.array([[3, 1, 0], [1, 3, 0], [0, 0, 0]])))
    0.6
    >>> float(mean_iou(np.array([[3, 1, 0], [1, 2, 1], [0, 0, 0]])))  # a pixel taken for the absent class is a miss
    0.5
    """
    return mean_present(iou_per_class(confusion))


def pixel_accuracy(confusion: Counts) -> Floats:
    """Return the share of labelled pixels whose class is right, ``sum_i C_ii / sum_ij C_ij``.

    Args:
        confusion: (..., k, p) pixel counts.

    Returns:
        (...) in [0, 1]; NaN where no pixel is labelled.

    Raises:
        EnsError: the last two axes are not (k, p) with p >= k.

    >>> float(pixel_accuracy(np.array([[1, 1], [0, 2]])))
    0.75
    """
    hits = class_counts(confusion)[..., 0, :]
    return divide_or_nan(hits.sum(axis=-1), confusion.sum(axis=(-2, -1)).astype(np.float64))


def dice_per_class(confusion: Counts) -> Floats:
    """Return the Dice coefficient of each class, ``2 C_ii / (sum_j C_ij + sum_j C_ji) = 2 IoU / (1 + IoU)``.

    Args:
        confusion: (..., k, p) pixel counts.

    Returns:
        (..., k) in [0, 1]; NaN if a class is absent from the truth.

    Raises:
        EnsError: the last two axes are not (k, p) with p >= k.

    Reference:
        Dice, Measures of the Amount of Ecologic Association Between Species, 1945.

    >>> dice_per_class(np.array([[1, 1], [0, 2]])).round(4).tolist()
    [0.6667, 0.8]
    """
    return dice_of(class_counts(confusion))
