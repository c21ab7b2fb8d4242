"""All scores of one system from tables that add up batch by batch, with group-bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.calibration import brier_sums, expected_calibration_error, log_loss_sums, reliability
from ensemble.evaluation.confusion import (
    confusion_per_image,
    divide_or_nan,
    iou_per_class,
    keras_mean_iou,
    mean_iou,
    mean_present,
    pixel_accuracy,
)
from ensemble.evaluation.intervals import interval


@dataclass
class Tally:
    """What the images of one system add up to; ``add`` takes batches in the order of the images.

    Args:
        classes: number of scored classes.
    """

    classes: int
    _confusions: list[NDArray[np.int64]] = field(default_factory=list)
    _raw: list[NDArray[np.int64]] = field(default_factory=list)
    _log_loss: list[NDArray[np.float64]] = field(default_factory=list)
    _brier: list[NDArray[np.float64]] = field(default_factory=list)
    reliability_3b: NDArray[np.float64] = field(default_factory=lambda: np.zeros((3, 15)))

    def add(
        self,
        probs_nchw: NDArray[np.float32],
        labels_nhw: NDArray[np.uint8],
        predictions_nhw: NDArray[Any] | None = None,
        raw_predictions_nhw: NDArray[Any] | None = None,
    ) -> None:
        """Count a batch.

        Args:
            probs_nchw: probabilities of the scored classes.
            labels_nhw: labels with void 255.
            predictions_nhw: decided classes; the most probable ones where left out.
            raw_predictions_nhw: the most probable outputs of a network whose output ``classes`` is background.
        """
        decided = probs_nchw.argmax(1) if predictions_nhw is None else predictions_nhw
        self._confusions.append(confusion_per_image(labels_nhw, decided, self.classes))
        if raw_predictions_nhw is not None:
            self._raw.append(confusion_per_image(labels_nhw, raw_predictions_nhw, self.classes, self.classes + 1))
        self._log_loss.append(log_loss_sums(probs_nchw, labels_nhw))
        self._brier.append(brier_sums(probs_nchw, labels_nhw))
        self.reliability_3b += reliability(probs_nchw, labels_nhw)

    @property
    def confusions_nkk(self) -> NDArray[np.int64]:
        """Confusion matrix of every image added."""
        return np.concatenate(self._confusions)

    @property
    def log_loss_n(self) -> NDArray[np.float64]:
        """Sum of the log-loss over the labelled pixels of every image."""
        return np.concatenate(self._log_loss)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The per-image tables, for ``confusions.npz``."""
        tables: dict[str, NDArray[Any]] = {"confusions": self.confusions_nkk, "log_loss": self.log_loss_n}
        return tables | ({"raw_confusions": np.concatenate(self._raw)} if self._raw else {})

    def scores(
        self, groups: Sequence[str], class_names: Sequence[str], background: int | None = None, resamples: int = 10_000
    ) -> dict[str, Any]:
        """Scores by name, the ones with an interval as ``name``, ``name_low`` and ``name_high`` (95 %).

        ``background`` is the scored class that the Keras reading ignores, if any; see ``keras_mean_iou``.
        With fewer than two groups there is no interval: its limits are NaN.
        """
        confusions, total = self.confusions_nkk, self.confusions_nkk.sum(0)
        pixels = total.sum()
        raw = np.concatenate(self._raw).sum(0) if self._raw else total
        iou = iou_per_class(total)
        result: dict[str, Any] = {
            "miou": float(mean_iou(total)),
            "miou_keras": float(keras_mean_iou(raw, background)),
            "pixel_accuracy": float(pixel_accuracy(total)),
            "log_loss": float(divide_or_nan(self.log_loss_n.sum(), pixels)),
            "brier": float(divide_or_nan(np.concatenate(self._brier).sum(), pixels)),
            "ece": float(expected_calibration_error(self.reliability_3b)),
            "iou": {name: float(value) for name, value in zip(class_names, iou, strict=True)},
            "images": len(confusions),
            "groups": len(set(groups)),
            "images_per_class": (confusions.sum(2) > 0).sum(0).tolist(),
        }
        if len(set(groups)) < 2:
            nothing = {name: float("nan") for name in class_names}
            return result | {"miou_low": np.nan, "miou_high": np.nan, "iou_low": nothing, "iou_high": nothing}
        drawn = Bootstrap.draw(groups, resamples=resamples)
        samples_bc, left_out_gc = (
            np.concatenate([mean_present(iou_k)[:, None], iou_k], axis=1)
            for iou_k in (drawn.iou(confusions), drawn.leave_one_out.iou(confusions))
        )
        columns = range(1 + self.classes)  # mean IoU, then each class
        overall, *limits = (interval(samples_bc[:, c], left_out_g=left_out_gc[:, c]) for c in columns)
        return result | {
            "miou_low": overall.low,
            "miou_high": overall.high,
            "iou_low": {name: limit.low for name, limit in zip(class_names, limits, strict=True)},
            "iou_high": {name: limit.high for name, limit in zip(class_names, limits, strict=True)},
        }
