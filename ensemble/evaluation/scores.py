"""Compute all scores of one system from tables that add up image by image, with intervals over groups of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.bootstrap import Bootstrap, sum_by_group
from ensemble.evaluation.boundary import boundary_f1
from ensemble.evaluation.calibration_interval import calibration_error, calibration_error_interval
from ensemble.evaluation.caveats import too_few_groups
from ensemble.evaluation.confusion import Floats, class_counts, dice_of, divide_or_nan, iou_of, mean_present
from ensemble.evaluation.intervals import Interval, interval
from ensemble.evaluation.keras_iou import keras_confusion
from ensemble.evaluation.more_scores import more_scores
from ensemble.evaluation.proportion_intervals import class_intervals, share_interval

SCORES = ("miou", "miou_keras", "dice", "pixel_accuracy", "boundary_f1", "log_loss", "brier", "ece")
"""Scores of a system, each with ``<name>_low`` and ``<name>_high``."""

MEANS = {"miou": "iou", "dice": "dice_per_class", "boundary_f1": "boundary_f1_per_class"}
"""Scores that are a mean over the classes, and the score per class that they are the mean of."""


def scores_of(
    tables: Mapping[str, NDArray[Any]],
    groups: Sequence[str],
    class_names: Sequence[str],
    background: int | None = None,
    resamples: int = 10_000,
) -> dict[str, Any]:
    """Return the scores by name, each as ``name``, ``name_low`` and ``name_high`` (95 %), and what they rest on.

    Those of `SCORES` are numbers, those of `MEANS` dictionaries by class, of which IoU has limits too.
    ``boundary_images`` counts the images where two labelled classes touch: ``boundary_f1`` rests on these.
    The others are those of `more_scores`.

    ``background`` is the scored class that the Keras reading ignores, if any; see ``keras_mean_iou``.
    With too few groups (see `too_few_groups`) there is no interval: its limits are NaN.
    """
    sums_n, holders = _sums(tables, background), _holders(tables, groups)
    sums = {name: values.sum(0) for name, values in sums_n.items()}
    whole = _shares(sums) | _others(sums)
    limits = _intervals(sums_n, whole, holders, groups, resamples) if not too_few_groups(len(set(groups))) else {}
    nothing = [Interval(np.nan, np.nan)] * (1 + len(class_names))
    result: dict[str, Any] = {}
    for name in SCORES:
        limit = limits.get(name, nothing)[0]
        result |= {name: float(whole[name]), f"{name}_low": limit.low, f"{name}_high": limit.high}
    for name in MEANS.values():
        result[name] = dict(zip(class_names, whole[name].tolist(), strict=True))
    each = limits.get("miou", nothing)[1:]
    result["iou_low"] = {name: limit.low for name, limit in zip(class_names, each, strict=True)}
    result["iou_high"] = {name: limit.high for name, limit in zip(class_names, each, strict=True)}
    return (
        result
        | {
            "images": len(tables["confusions"]),
            "groups": len(set(groups)),
            "images_per_class": (tables["confusions"].sum(2) > 0).sum(0).tolist(),
            "groups_per_class": holders["iou"],
            "boundary_images": int((tables["boundary"][:, :, 3] > 0).any(1).sum()),
        }
        | more_scores(tables, groups, class_names)
    )


def _holders(tables: Mapping[str, NDArray[Any]], groups: Sequence[str]) -> dict[str, list[int]]:
    """Return, for each class, the number of groups that hold a pixel of it, and a pixel of its boundary."""
    held_nk, bounded_nk = tables["confusions"].sum(2) > 0, tables["boundary"][:, :, 3] > 0
    counted, bounded = ((sum_by_group(holds_nk, groups)[0] > 0).sum(0).tolist() for holds_nk in (held_nk, bounded_nk))
    return {"iou": counted, "dice_per_class": counted, "boundary_f1_per_class": bounded}


def _sums(tables: Mapping[str, NDArray[Any]], background: int | None) -> dict[str, NDArray[Any]]:
    """Return numbers per image that add up; all scores are functions of their sums."""
    confusions = tables["confusions"]
    count, confidence, right = np.moveaxis(tables["reliability"], 1, 0)
    keras = keras_confusion(tables.get("raw_confusions", confusions), background)
    return {
        "classes": class_counts(confusions),
        "keras": class_counts(keras)[:, :2],
        "pixels": count.sum(1),
        "gap": confidence - right,
        "boundary": tables["boundary"],
        "log_loss": tables["log_loss"],
        "brier": tables["brier"],
    }


def _shares(sums: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Return scores (...) and scores per class (..., k) that count right pixels, from sums with any leading axes."""
    each = {
        "iou": iou_of(sums["classes"]),
        "dice_per_class": dice_of(sums["classes"]),
        "boundary_f1_per_class": boundary_f1(sums["boundary"]),
    }
    means = {mean: mean_present(each[name]) for mean, name in MEANS.items()}
    return each | means | {"pixel_accuracy": divide_or_nan(sums["classes"][..., 0, :].sum(-1), sums["pixels"])}


def _others(sums: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Return the other scores (...), from sums with any leading axes: of all images, or of resamples."""
    return {
        "miou_keras": mean_present(divide_or_nan(*np.moveaxis(sums["keras"], -2, 0))),
        "log_loss": divide_or_nan(sums["log_loss"], sums["pixels"]),
        "brier": divide_or_nan(sums["brier"], sums["pixels"]),
        "ece": calibration_error(sums["gap"], sums["pixels"]),
    }


def _intervals(
    sums_n: Mapping[str, NDArray[Any]],
    whole: Mapping[str, Floats],
    holders: Mapping[str, Sequence[int]],
    groups: Sequence[str],
    resamples: int,
) -> dict[str, list[Interval]]:
    """Return the intervals of each of `SCORES`; that of a mean is followed by those of its classes."""
    drawn = Bootstrap.draw(groups, resamples=resamples)
    sums_g = _totals(drawn.leave_one_out, sums_n)
    left_out_g = _shares(sums_g)
    limits = {mean: class_intervals(whole[name], left_out_g[name], holders[name]) for mean, name in MEANS.items()}
    accuracy = share_interval(float(whole["pixel_accuracy"]), left_out_g["pixel_accuracy"], len(drawn.names))
    limits["pixel_accuracy"] = [accuracy]

    sums_b = _totals(drawn, {name: values for name, values in sums_n.items() if name not in ("classes", "boundary")})
    samples_b, left_out_g = _others(sums_b), _others(sums_g)
    limits |= {name: [interval(samples_b[name], left_out_g=left_out_g[name])] for name in samples_b}
    if whole["miou_keras"] == whole["miou"]:  # background is never predicted: the same score
        limits["miou_keras"] = limits["miou"]
    found = sums_n["gap"].sum(0), float(sums_n["pixels"].sum())
    limits["ece"] = [calibration_error_interval(sums_b["gap"], sums_b["pixels"], *found, left_out_g["ece"])]
    return limits


def _totals(bootstrap: Bootstrap, sums_n: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Return the sums over every resample, all by one product."""
    flat = [values.reshape(len(values), -1) for values in sums_n.values()]
    ends = np.cumsum([values.shape[1] for values in flat])
    parts = np.split(bootstrap.totals(np.concatenate(flat, axis=1)), ends[:-1], axis=1)
    shapes = [values.shape[1:] for values in sums_n.values()]
    return {name: part.reshape(-1, *shape) for name, part, shape in zip(sums_n, parts, shapes, strict=True)}
