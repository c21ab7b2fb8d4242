"""Count the images of one system, batch by batch, in tables that add up image by image; all scores are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.boundary import boundary_counts
from ensemble.evaluation.boundary_strips import StripBoundary
from ensemble.evaluation.calibration import expected_calibration_error, probability_tables
from ensemble.evaluation.confusion import Floats, confusion_per_image, mean_iou
from ensemble.evaluation.object_strips import StripObjects
from ensemble.evaluation.objects import object_counts
from ensemble.evaluation.scores import scores_of
from ensemble.evaluation.strips import Strip


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
