"""Compute all scores of one system from tables that add up image by image, with intervals over groups of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.bootstrap import Bootstrap, sum_by_group
from ensemble.evaluation.boundary import boundary_counts, boundary_f1
from ensemble.evaluation.boundary_strips import StripBoundary
from ensemble.evaluation.calibration import expected_calibration_error, probability_tables
from ensemble.evaluation.calibration_interval import calibration_error, calibration_error_interval
from ensemble.evaluation.caveats import too_few_groups
from ensemble.evaluation.confusion import (
    Floats,
    class_counts,
    confusion_per_image,
    dice_of,
    divide_or_nan,
    iou_of,
    keras_confusion,
    mean_iou,
    mean_present,
)
from ensemble.evaluation.intervals import Interval, interval
from ensemble.evaluation.more_scores import more_scores
from ensemble.evaluation.object_strips import StripObjects
from ensemble.evaluation.objects import object_counts
from ensemble.evaluation.proportion_intervals import class_intervals, share_interval
from ensemble.evaluation.strips import Strip

SCORES = ("miou", "miou_keras", "dice", "pixel_accuracy", "boundary_f1", "log_loss", "brier", "ece")
"""Scores of a system, each with ``<name>_low`` and ``<name>_high``."""

MEANS = {"miou": "iou", "dice": "dice_per_class", "boundary_f1": "boundary_f1_per_class"}
"""Scores that are a mean over the classes, and the score per class that they are the mean of."""


@dataclass
class Tally:
    """The per-image tables of one system; ``add`` takes batches in the order of the images.

    The images may differ in size. A large image may be added strip after strip, from top to bottom.

    Args:
        classes: number of scored classes.
        shapes: count objects and pixels near boundaries, too; see `object_counts` and `boundary_counts`.
    """

    classes: int
    shapes: bool = True
    _parts: dict[str, list[NDArray[Any]]] = field(default_factory=dict[str, list[NDArray[Any]]])
    _boundary: StripBoundary | None = None
    _objects: StripObjects | None = None

    def add(
        self,
        probs_nchw: NDArray[np.float32],
        labels_nhw: NDArray[np.uint8],
        predictions_nhw: NDArray[Any] | None = None,
        raw_predictions_nhw: NDArray[Any] | None = None,
        strip: Strip | None = None,
    ) -> None:
        """Count a batch, or a strip of one image.

        The counts of an image do not depend on how it is cut. Its sums of log-loss, Brier score and confidence depend
        on it by the rounding of float64.

        Args:
            probs_nchw: probabilities of the scored classes.
            labels_nhw: labels with void 255.
            predictions_nhw: decided classes; the most probable ones where left out.
            raw_predictions_nhw: the most probable outputs of a network whose output ``classes`` is background.
            strip: where a strip lies in its image; the one before has been added.

        Raises:
            EnsError: shapes do not fit, values are not probabilities, or classes are out of range.
        """
        tables = probability_tables(probs_nchw, labels_nhw)
        decided_nhw = tables.top_nhw if predictions_nhw is None else predictions_nhw
        batch: dict[str, NDArray[Any]] = {"confusions": confusion_per_image(labels_nhw, decided_nhw, self.classes)}
        if raw_predictions_nhw is not None:
            raw = confusion_per_image(labels_nhw, raw_predictions_nhw, self.classes, self.classes + 1)
            batch["raw_confusions"] = raw
        batch |= {"log_loss": tables.log_loss_n, "brier": tables.brier_n, "reliability": tables.reliability_n3b}
        batch |= {"brier_per_class": tables.brier_nk, "reliability_per_class": tables.reliability_nk3b}
        if self.shapes:
            batch["boundary"] = self._boundary_counts(labels_nhw, decided_nhw, strip)
            batch["objects"] = self._object_counts(labels_nhw, decided_nhw, strip)
        for name, values in batch.items():
            parts = self._parts.setdefault(name, [])
            if strip is None or strip.top == 0:
                parts.append(values)
            else:
                parts[-1] += values

    def _boundary_counts(
        self, labels_nhw: NDArray[np.uint8], decided_nhw: NDArray[Any], strip: Strip | None
    ) -> NDArray[np.int64]:
        """Return the counts of whole images, or those that a strip completes."""
        if strip is None:
            return boundary_counts(labels_nhw, decided_nhw, self.classes)
        if strip.top == 0:
            self._boundary = StripBoundary(strip.height, labels_nhw.shape[2], self.classes)
        assert self._boundary is not None
        return self._boundary.add(labels_nhw, decided_nhw, strip.top)

    def _object_counts(
        self, labels_nhw: NDArray[np.uint8], decided_nhw: NDArray[Any], strip: Strip | None
    ) -> NDArray[np.int64]:
        """Return the counts of whole images, or after the last strip those of its image."""
        if strip is None:
            return object_counts(labels_nhw, decided_nhw, self.classes)
        if strip.top == 0:
            self._objects = StripObjects(strip.height, labels_nhw.shape[2], self.classes)
        assert self._objects is not None
        return self._objects.add(labels_nhw, decided_nhw, strip.top)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the per-image tables, for ``confusions.npz``.

        ``confusions`` (n, k, k), ``raw_confusions`` (n, k, k + 1) of a network with a background output, the sums
        ``log_loss`` and ``brier`` (n,), ``brier_per_class`` (n, k), ``reliability`` (n, 3, bins),
        ``reliability_per_class`` (n, k, 3, bins), ``boundary`` (n, k, 4) and ``objects`` (n, k, sizes, 4), as the
        functions of this package return them.
        """
        return {name: np.concatenate(parts) for name, parts in self._parts.items()}

    @property
    def confusions_nkk(self) -> NDArray[np.int64]:
        """Confusion matrix of every image added."""
        return np.concatenate(self._parts["confusions"])

    @property
    def log_loss_n(self) -> Floats:
        """Sum of the log-loss over the labelled pixels of every image."""
        return np.concatenate(self._parts["log_loss"])

    @property
    def reliability_3b(self) -> Floats:
        """Reliability table of all images together."""
        return np.concatenate(self._parts["reliability"]).sum(0)

    def basics(self) -> dict[str, float]:
        """Return ``miou``, ``log_loss`` and ``ece`` of all images together, without intervals."""
        confusion = self.confusions_nkk.sum(0)
        return {
            "miou": float(mean_iou(confusion)),
            "log_loss": float(self.log_loss_n.sum() / confusion.sum()),
            "ece": expected_calibration_error(self.reliability_3b),
        }

    def scores(
        self, groups: Sequence[str], class_names: Sequence[str], background: int | None = None, resamples: int = 10_000
    ) -> dict[str, Any]:
        """Return the scores of all images added; see `scores_of`."""
        return scores_of(self.arrays(), groups, class_names, background, resamples)


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
