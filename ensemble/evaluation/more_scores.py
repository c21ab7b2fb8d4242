"""Compute scores that answer further questions: per image, per object, per class, and without what decides alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.bootstrap import sum_by_group
from ensemble.evaluation.calibration_interval import calibration_error
from ensemble.evaluation.caveats import few_holders, too_few_groups
from ensemble.evaluation.confusion import Counts, Floats, class_counts, divide_or_nan, iou_of, mean_iou, mean_present
from ensemble.evaluation.intervals import Interval, effective_freedom
from ensemble.evaluation.objects import SIZES, object_f1, object_precision, object_recall
from ensemble.evaluation.proportion_intervals import FEW_DECIDE, class_intervals, share_interval

Tables = Mapping[str, NDArray[Any]]

OBJECT_SCORES = {"object_recall": object_recall, "object_precision": object_precision, "object_f1": object_f1}
"""Scores of objects, ``<name>_per_class`` with limits."""

MORE_SCORES = ("image_miou", "object_recall", "object_f1")
"""Names of the scores of this module that are one number with limits, ``<name>_low`` and ``<name>_high``.

There is no mean of the precision: a class that is never predicted has none, which would raise the mean of the others.
"""


def more_scores(
    tables: Mapping[str, NDArray[Any]], groups: Sequence[str], class_names: Sequence[str]
) -> dict[str, Any]:
    """Return scores by name from the per-image tables of `Tally.arrays`.

    - ``image_miou``, with limits: see `image_miou`.
    - ``ece_per_class``: calibration error of the pixels that are taken for the class (Gupta and Ramdas, Top-label
      Calibration, 2022). ``brier_per_class``: the part of the Brier score that is the error of the class's probability.
    - ``miou_without_rare``: mean IoU without the classes ``rare_classes``, which few groups hold; None if there are
      none.
    - ``miou_without_group``: mean IoU without ``deciding_group``, the group that moves it most, where this one group
      decides (fewer than two effective degrees of freedom); None where it does not.
    - of objects, if they were counted: `OBJECT_SCORES`, the means of recall and F1, and ``objects``, the counts of
      each class and size; ``object_images``, the number of images whose objects are counted.
    """
    confusions = tables["confusions"]
    scores: dict[str, Any] = _per_image(confusions, groups) | _robust(confusions, groups, class_names)
    count, confidence, right = np.moveaxis(tables["reliability_per_class"].sum(0), 1, 0)
    errors_k = calibration_error(confidence - right, count.sum(1))
    brier_k = divide_or_nan(tables["brier_per_class"].sum(0), np.asarray(confusions.sum(), np.float64))
    scores |= {"ece_per_class": _by_class(class_names, errors_k), "brier_per_class": _by_class(class_names, brier_k)}
    return scores | (_of_objects(tables, groups, class_names) if "objects" in tables else {})


def image_miou(confusions_nkp: Counts) -> Floats:
    """Return the mean IoU of each image over the classes in its truth; NaN for an image without labelled pixels.

    Their mean over the images is the image-level mean IoU. Every image weighs the same in it, however few pixels of it
    are labelled; in the mean IoU of the data set every pixel of a class weighs the same.

    Reference:
        Wang et al., Revisiting Evaluation Metrics for Semantic Segmentation, 2023 (mIoU of images).

    >>> image_miou(np.array([[[2, 2], [0, 0]], [[1, 0], [0, 3]]])).tolist()
    [0.5, 1.0]
    """
    return mean_iou(confusions_nkp)


def image_miou_sums(confusions_nkk: Counts) -> Floats:
    """Return the `image_miou` of each image, 0 for one without labelled pixels, and whether it has any: (n, 2).

    The image-level mean IoU is the ratio of their sums over images.
    """
    miou_n = image_miou(confusions_nkk)
    return np.stack([np.nan_to_num(miou_n), ~np.isnan(miou_n)], axis=1).astype(np.float64)


def _per_image(confusions_nkk: Counts, groups: Sequence[str]) -> dict[str, Any]:
    sums_n2 = image_miou_sums(confusions_nkk)

    def mean(sums_2: Floats) -> Floats:
        return divide_or_nan(sums_2[..., 0], sums_2[..., 1])

    whole, limits = float(mean(sums_n2.sum(0))), Interval(np.nan, np.nan)
    if not too_few_groups(len(set(groups))):
        sums_g2 = sum_by_group(sums_n2, groups)[0]
        limits = share_interval(whole, mean(sums_g2.sum(0) - sums_g2), int((sums_g2[:, 1] > 0).sum()))
    return {"image_miou": whole, "image_miou_low": limits.low, "image_miou_high": limits.high}


def _robust(confusions_nkk: NDArray[np.int64], groups: Sequence[str], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the mean IoU without rare classes, and without the one group that decides."""
    counts_n3k, rare_k = class_counts(confusions_nkk), np.array(few_holders(confusions_nkk, groups))
    iou_k = iou_of(counts_n3k.sum(0))
    without_rare = float(mean_present(iou_k[~rare_k])) if rare_k.any() else None
    found: dict[str, Any] = {
        "miou_without_rare": without_rare,
        "rare_classes": [name for name, rare in zip(class_names, rare_k, strict=True) if rare],
        "miou_without_group": None,
        "deciding_group": None,
    }
    if too_few_groups(len(set(groups))):
        return found
    sums_g3k, names = sum_by_group(counts_n3k, groups)
    left_out_g = mean_present(iou_of(sums_g3k.sum(0) - sums_g3k))
    if effective_freedom(left_out_g) >= FEW_DECIDE[0]:
        return found
    missing_g = np.isnan(left_out_g)
    group = int(np.argmax(np.where(missing_g, np.inf, np.abs(left_out_g - mean_present(iou_k)))))
    return found | {"miou_without_group": float(left_out_g[group]), "deciding_group": names[group]}


def _of_objects(
    tables: Mapping[str, NDArray[Any]], groups: Sequence[str], class_names: Sequence[str]
) -> dict[str, Any]:
    counts_nks4 = tables["objects"]
    counts_nk4 = counts_nks4.sum(2)
    whole_k4 = counts_nk4.sum(0)
    holders = (sum_by_group(counts_nk4[..., 3] > 0, groups)[0] > 0).sum(0).tolist()
    left_out_gk4 = None
    if not too_few_groups(len(set(groups))):
        sums_gk4 = sum_by_group(counts_nk4, groups)[0]
        left_out_gk4 = sums_gk4.sum(0) - sums_gk4
    scores: dict[str, Any] = {}
    for name, score in OBJECT_SCORES.items():
        values_k = score(whole_k4)
        limits = [Interval(np.nan, np.nan)] * (1 + len(values_k))
        if left_out_gk4 is not None:
            limits = class_intervals(values_k, score(left_out_gk4), holders)
        low, high = (np.array([getattr(each, side) for each in limits]) for side in ("low", "high"))
        if name in MORE_SCORES:
            scores[name] = float(mean_present(values_k))
            scores |= {f"{name}_low": float(low[0]), f"{name}_high": float(high[0])}
        for end, each_k in (("", values_k), ("_low", low[1:]), ("_high", high[1:])):
            scores[f"{name}_per_class{end}"] = _by_class(class_names, each_k)
    labelled_n = tables["confusions"].sum((1, 2)) > 0
    return scores | {
        "objects": {name: _counted(counts_s4) for name, counts_s4 in zip(class_names, counts_nks4.sum(0), strict=True)},
        "object_images": int((counts_nk4[..., 3].any(1) & labelled_n).sum()),
    }


def _counted(counts_s4: NDArray[np.int64]) -> dict[str, Any]:
    """Return the counts of one class by name: of all its objects, and of those of each size."""
    names = ("right", "predicted", "found", "true")
    whole = dict(zip(names, counts_s4.sum(0).tolist(), strict=True))
    return whole | {
        size: dict(zip(names, row, strict=True)) for size, row in zip(SIZES, counts_s4.tolist(), strict=True)
    }


def _by_class(class_names: Sequence[str], values_k: Floats) -> dict[str, float]:
    return dict(zip(class_names, values_k.tolist(), strict=True))
