"""Void pixels, and the checks of labels and predictions that all scores share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.void import VOID


def labelled(labels_nhw: NDArray[np.integer[Any]], classes: int) -> NDArray[np.bool_]:
    """Return the mask of the pixels that carry a class: True if the label is not void.

    Args:
        labels_nhw: class numbers 0..classes-1 or 255 for void, any integer type.
        classes: number of classes K, 1 to 255.

    Returns:
        (n, h, w) booleans.

    Raises:
        EnsError: labels are not an integer array (n, h, w), or hold another value.

    >>> labelled(np.array([[[0, 1, 255]]]), classes=2).tolist()
    [[[True, True, False]]]
    """
    if not 1 <= classes <= VOID:
        raise EnsError(f"expected between 1 and {VOID} classes ({VOID} is void), got {classes}")
    if labels_nhw.ndim != 3 or not np.issubdtype(labels_nhw.dtype, np.integer):
        raise EnsError(
            "expected integer labels of shape (images, height, width), "
            f"got {labels_nhw.dtype} of shape {labels_nhw.shape}"
        )
    mask_nhw = labels_nhw != VOID
    wrong_nhw = mask_nhw & ((labels_nhw < 0) | (labels_nhw >= classes))
    if wrong_nhw.any():
        values = ", ".join(str(value) for value in np.unique(labels_nhw[wrong_nhw])[:5])
        raise EnsError(
            f"expected labels 0..{classes - 1} or {VOID} for void, got {values}; "
            "map the data set's own ids to class numbers first"
        )
    return mask_nhw


def decided(
    predictions_nhw: NDArray[np.integer[Any]], mask_nhw: NDArray[np.bool_], classes: int
) -> NDArray[np.integer[Any]]:
    """Return the predicted classes with 0 under void, so that no prediction there can reach a score.

    Args:
        predictions_nhw: class numbers 0..classes-1, any integer type; any value where void.
        mask_nhw: the pixels that carry a class, from `labelled`.
        classes: number of classes that can be predicted.

    Returns:
        (n, h, w) of the type of the predictions.

    Raises:
        EnsError: predictions are not integers, have another shape, or are out of range on labelled pixels.

    >>> decided(np.array([[[1, 7]]]), np.array([[[True, False]]]), classes=2).tolist()
    [[[1, 0]]]
    """
    if predictions_nhw.shape != mask_nhw.shape or not np.issubdtype(predictions_nhw.dtype, np.integer):
        raise EnsError(
            f"expected integer predictions of the labels' shape {mask_nhw.shape}, "
            f"got {predictions_nhw.dtype} of shape {predictions_nhw.shape}; take the argmax over the class axis"
        )
    guess_nhw = np.where(mask_nhw, predictions_nhw, 0)
    if guess_nhw.size and not 0 <= guess_nhw.min() <= guess_nhw.max() < classes:
        image = int(((guess_nhw < 0) | (guess_nhw >= classes)).any(axis=(1, 2)).argmax())
        guess = predictions_nhw[image][mask_nhw[image]]
        raise EnsError(
            f"expected predictions 0..{classes - 1} on labelled pixels, "
            f"got {guess.min()}..{guess.max()} in image {image} of the batch"
        )
    return guess_nhw
