"""Fit the estimate of the IoU of images without masks to stored probabilities, and validate it out of fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.by_fold import apply_by_fold
from ensemble.combining.combiner import Combiner
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.confusion import Floats, confusion_per_image
from ensemble.evaluation.diversity import clipped_log
from ensemble.evaluation.quality import (
    WHOLE,
    QualityModel,
    by_class,
    expected_counts,
    features_of,
    fit_quality,
    out_of_fold,
    true_quality,
    validate_quality,
)
from ensemble.evaluation.strips import PredictedBatch
from ensemble.evaluation.uncertainty import mutual_information


@dataclass(frozen=True)
class Quality:
    """What estimates the quality of new images.

    Attributes:
        names: `WHOLE`, then the classes.
        models: the estimate of each; None if too few groups of images hold it.
    """

    names: tuple[str, ...]
    models: tuple[QualityModel | None, ...]

    def __call__(self, counts_nk4: Floats) -> Floats:
        """Return estimates and limits (n, 1 + k, 3); NaN for classes that are not in the map or have no estimate."""
        features_nk2 = features_of(counts_nk4)
        found = [
            np.full((len(counts_nk4), 3), np.nan) if model is None else model(features_n2)
            for model, features_n2 in zip(self.models, np.moveaxis(features_nk2, 1, 0), strict=True)
        ]
        return np.stack(found, axis=1)

    @property
    def cannot_say(self) -> tuple[str, ...]:
        """Names without an estimate."""
        return tuple(name for name, model in zip(self.names, self.models, strict=True) if model is None)

    def to_json(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return {name: model and asdict(model) for name, model in zip(self.names, self.models, strict=True)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], classes: Sequence[str]) -> Quality:
        """Return what has the parameters of ``to_json``.

        Raises:
            EnsError: parameters are missing or damaged.
        """
        names = (WHOLE, *classes)
        try:
            return cls(names, tuple(_model(content[name]) for name in names))
        except (KeyError, TypeError, ValueError) as error:
            raise EnsError(f"the stored estimate of quality is damaged ({error}); combine the members again") from None


def _model(content: Mapping[str, Any] | None) -> QualityModel | None:
    if content is None:
        return None
    a, b, c = map(float, content["coefficients"])
    return QualityModel((a, b, c), float(content["width"]), int(content["groups"]))


@dataclass(frozen=True, eq=False)
class MeasuredQuality:
    """The fitted estimate, and what it says about images that it was not fitted on.

    Attributes:
        quality: fitted on all images.
        found_nk3: estimate and limits of each image and of its classes, without its fold of groups; NaN if unknown.
        scores: `validate_quality` of these by name; see `Quality.names`.
    """

    quality: Quality
    found_nk3: Floats
    scores: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class QualitySums:
    """What the estimate of quality is fitted to, image by image.

    Attributes:
        counts_nk4: what `features_of` takes.
        confusions_nkk: confusion matrices of the class maps.
    """

    counts_nk4: Floats
    confusions_nkk: NDArray[np.int64]

    @classmethod
    def none_of(cls, aligned: Aligned) -> QualitySums:
        """Return the sums before any batch is added."""
        images, classes = len(aligned.ids), len(aligned.classes)
        return cls(np.zeros((images, classes, 4)), np.zeros((images, classes, classes), np.int64))

    def add(
        self, batch: PredictedBatch, pooled: NDArray[np.float32], decided: NDArray[np.intp], members: Sequence[int]
    ) -> None:
        """Add a batch, or a strip of one image.

        Args:
            batch: probabilities of all members, and the labels.
            pooled: pooled probabilities of all rows of the batch.
            decided: their class maps.
            members: places of the members whose disagreement counts, those that `ens predict` uses.
        """
        probs_nchw, decided_nhw = batch.cut(pooled), batch.cut(decided)
        information_nhw = information_of(batch.cut(batch.probs_mnchw[list(members)]))
        self.counts_nk4[batch.rows] += quality_counts(probs_nchw, decided_nhw, information_nhw)
        classes = self.counts_nk4.shape[1]
        self.confusions_nkk[batch.rows] += confusion_per_image(batch.labels_nhw, decided_nhw, classes)


def sum_quality(
    aligned: Aligned,
    pools: Sequence[Combiner],
    fold_n: NDArray[np.int64],
    members: Sequence[int],
    progress: Progress = no_progress,
) -> QualitySums:
    """Return the sums of finished pools, in one pass over the stores.

    Args:
        aligned: the members' stores of validation images.
        pools: pool of each fold, fitted without it, so that probabilities and class maps are those of new images.
        fold_n: fold of each image.
        members: see `QualitySums.add`.
        progress: callback that receives the progress.
    """
    sums = QualitySums.none_of(aligned)
    for batch in aligned.batches(halo=max(pool.reach for pool in pools)):
        sums.add(batch, *apply_by_fold(pools, fold_n[batch.rows], batch.probs_mnchw), members)
        progress("estimating quality", batch.rows.stop, len(aligned.ids))
    return sums


def measure_quality(sums: QualitySums, aligned: Aligned) -> MeasuredQuality:
    """Fit and validate the estimate of quality.

    Args:
        sums: of pools that were fitted without the images that they are applied to.
        aligned: the members' stores of validation images.
    """
    features_nk2, truth_nk = features_of(sums.counts_nk4), true_quality(sums.confusions_nkk)
    names, models, found, scores = (WHOLE, *aligned.classes), list[QualityModel | None](), list[Floats](), {}
    for place, name in enumerate(names):
        given = features_nk2[:, place], truth_nk[:, place]
        models.append(fit_quality(*given, aligned.groups))
        found.append(out_of_fold(*given, aligned.groups))
        scores[name] = validate_quality(found[-1], given[1], aligned.groups)
    return MeasuredQuality(Quality(names, tuple(models)), np.stack(found, axis=1), scores)


def information_of(probs_mnchw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mutual information (n, h, w) of the members in nats; they count alike and as they are."""
    probs_mcnhw = probs_mnchw.swapaxes(1, 2)
    return mutual_information(probs_mcnhw, clipped_log(probs_mcnhw)).astype(np.float32)


def quality_counts(
    probs_nchw: NDArray[np.float32], decided_nhw: NDArray[np.intp], information_nhw: NDArray[np.float32]
) -> Floats:
    """Return what `features_of` takes (n, c, 4); the counts of the strips of an image add up."""
    information_nc = by_class(information_nhw, decided_nhw, probs_nchw.shape[1])
    return np.concatenate([expected_counts(probs_nchw, decided_nhw), information_nc[..., None]], axis=2)
