"""The mean IoU as Keras computes it with an ignored class: by its reading, one stray pixel turns 1.0 into 0.8."""

from __future__ import annotations

import numpy as np

from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import Counts, Floats, class_counts, divide_or_nan, mean_present


def keras_mean_iou(confusion: Counts, background: int | None = None) -> Floats:
    """Return the mean IoU as ``keras.metrics.MeanIoU(ignore_class=background)`` computes it.

    That metric drops the pixels whose *truth* is background but keeps background as a class of the mean, with IoU 0,
    as soon as one labelled pixel is *predicted* background: with four classes one such pixel turns 1.0 into 0.8. Any
    other class that is absent from the truth is treated in the same way.

    Args:
        confusion: (..., k, k) counts, or (..., k, k + 1) whose last column is "predicted background".
        background: row and column of the background where it is one of the k classes; its row is dropped.

    Returns:
        (...) in [0, 1]; equals `mean_iou` when no labelled pixel is predicted as background or as an absent class.

    Raises:
        EnsError: the matrix is neither (k, k) nor (k, k + 1), or both ways of naming the background are used at once.

    Reference:
        Keras 3, ``keras.metrics.MeanIoU``, 2023.

    >>> from ensemble.evaluation.confusion import mean_iou
    >>> one_stray_pixel = np.diag([9, 9, 9, 9]) @ np.eye(4, 5, dtype=int)
    >>> one_stray_pixel[0, 4] = 1
    >>> float(keras_mean_iou(one_stray_pixel).round(3)), float(mean_iou(one_stray_pixel).round(3))
    (0.78, 0.975)
    """
    hits, union, _ = np.moveaxis(class_counts(keras_confusion(confusion, background)), -2, 0)
    return mean_present(divide_or_nan(hits, union))


def keras_confusion(confusion: Counts, background: int | None = None) -> Floats:
    """Return the square confusion matrices (..., p, p) that Keras would hold.

    Args:
        confusion: (..., k, k) or (..., k, k + 1) counts, as for `keras_mean_iou`.
        background: row and column of the background, as for `keras_mean_iou`.

    Raises:
        EnsError: as for `keras_mean_iou`.

    >>> keras_confusion(np.array([[[5, 1], [2, 7]]]), background=0).tolist()
    [[[0.0, 0.0], [2.0, 7.0]]]
    """
    classes, columns = confusion.shape[-2:] if confusion.ndim >= 2 else (0, 0)
    if columns not in (classes, classes + 1) or classes == 0:
        raise EnsError(f"expected confusion matrices (..., k, k) or (..., k, k + 1), got shape {confusion.shape}")
    if background is not None and (columns != classes or not 0 <= background < classes):
        raise EnsError(
            f"expected background as one of the classes 0..{classes - 1} of a square matrix, "
            f"got {background} for shape {confusion.shape}; leave it out where the last column is the background"
        )
    counts = np.zeros((*confusion.shape[:-2], columns, columns))
    counts[..., :classes, :] = confusion
    if background is not None:
        counts[..., background, :] = 0
    return counts
