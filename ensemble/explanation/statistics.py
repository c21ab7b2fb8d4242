"""Statistics of an ensemble and its members, from one pass over their stores in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.combiner import Combiner
from ensemble.core.progress import Progress
from ensemble.evaluation.confusion import confusion_per_image
from ensemble.evaluation.diversity import LossSplit, PairTally, clipped_log
from ensemble.evaluation.image import highest
from ensemble.evaluation.sampling import PixelSampler
from ensemble.evaluation.strips import PredictedBatch, Strip, thinned
from ensemble.evaluation.uncertainty import RiskTally, entropy, mutual_information
from ensemble.evaluation.void import VOID
from ensemble.explanation.result import UncertainImage

BATCH = 8  # images at once: their probabilities stay in the processor's cache
IMAGES = 4  # number of most disputed images whose maps are kept
ONE_CLASS_PENALTY = 1e12  # more than any sum of mutual information, so that images of a single class come last


def collect_statistics(aligned: Aligned, pool: Combiner, sample: int, seed: int, progress: Progress) -> Statistics:
    """Read the stores of the members once and return what they add up to.

    Args:
        aligned: the members' stores.
        pool: the fitted pool of the ensemble.
        sample: approximate number of labelled pixels to sample.
        seed: seed of the sample.
        progress: callback that receives the progress.
    """
    statistics = Statistics(aligned, pool, max(1, sample // len(aligned.classes)), seed)
    for batch in aligned.batches(BATCH, pool.reach):
        statistics.add(batch)
        progress("reading probabilities", batch.rows.stop, len(aligned.ids))
    return statistics


class Statistics:
    """Sums over the labelled pixels that were added: joint counts, log-losses, risks, a sample, and maps.

    Args:
        aligned: the members' stores.
        pool: the fitted pool of the ensemble.
        per_class: number of pixels to sample from each class.
        seed: seed of the sample.
    """

    def __init__(self, aligned: Aligned, pool: Combiner, per_class: int, seed: int) -> None:
        classes, members = len(aligned.classes), len(aligned.names)
        self.pool, self.ids = pool, aligned.ids
        self.pairs, self.split = PairTally(members, classes), LossSplit(classes)
        self.average_kk = np.zeros((classes, classes), np.int64)
        self.ensemble_kk = np.zeros((classes, classes), np.int64)
        self.ensemble_loss_k = np.zeros(classes)
        most = {"entropy": math.log(max(2, classes)), "mutual information": math.log(max(2, min(classes, members)))}
        self.risks = {name: RiskTally(largest) for name, largest in {**most, "1 - confidence": 1.0}.items()}
        self.sampler = PixelSampler(classes, per_class, seed)
        self._candidates: list[_Disputed] = []
        self._disputed = _Disputed("")

    @property
    def images(self) -> list[UncertainImage]:
        """The images that the members dispute most."""
        return [image.image() for image in self._candidates]

    def add(self, batch: PredictedBatch) -> None:
        """Add a batch of images, or the next strip of an image."""
        rows, labels_nhw = batch.rows, batch.labels_nhw
        mask_nhw = labels_nhw != VOID
        if batch.strip is None and not mask_nhw.any():
            return
        pooled_nchw = self.pool(batch.probs_mnchw)
        decided_nhw = batch.cut(self.pool.decide(pooled_nchw).astype(np.uint8))
        systems = (*batch.cut(batch.probs_mnchw), batch.cut(pooled_nchw))
        probs_scp = np.stack([_at_labelled(probs, mask_nhw) for probs in systems])
        labels_p, decided_p = labels_nhw[mask_nhw], decided_nhw[mask_nhw]
        probs_mcp, pooled_cp = probs_scp[:-1], probs_scp[-1]
        logs_scp = clipped_log(probs_scp)
        self.pairs.add(highest(probs_mcp.swapaxes(0, 1))[1], labels_p)
        self.split.add(logs_scp[:-1], labels_p)
        classes = len(pooled_cp)
        self.average_kk += _confusion(labels_p, highest(probs_mcp.mean(0))[1], classes)
        self.ensemble_kk += _confusion(labels_p, decided_p, classes)
        loss_p = -logs_scp[-1][labels_p, np.arange(len(labels_p))]
        self.ensemble_loss_k += np.bincount(labels_p, loss_p, minlength=classes)
        scores = {
            "entropy": entropy(pooled_cp, logs_scp[-1]),
            "mutual information": mutual_information(probs_mcp, logs_scp[:-1]),
            "1 - confidence": 1 - pooled_cp.max(0),
        }
        for name, score_p in scores.items():
            self.risks[name].add(score_p, decided_p != labels_p)
        self.sampler.add(probs_scp, labels_p, (np.nonzero(mask_nhw)[0] + rows.start).astype(np.int32))
        self._keep_images(batch, mask_nhw, decided_nhw, scores)

    def _keep_images(
        self,
        batch: PredictedBatch,
        mask_nhw: NDArray[np.bool_],
        decided_nhw: NDArray[np.uint8],
        scores: Mapping[str, NDArray[np.floating[Any]]],
    ) -> None:
        """Keep the maps of the images with the largest sum of mutual information, those of several classes first."""
        entropy_nhw, information_nhw = (np.full(mask_nhw.shape, np.nan, np.float32) for _ in range(2))
        entropy_nhw[mask_nhw], information_nhw[mask_nhw] = scores["entropy"], scores["mutual information"]
        strip = batch.strip or Strip(0, mask_nhw.shape[1])
        for n, maps in enumerate(zip(batch.labels_nhw, decided_nhw, entropy_nhw, information_nhw, strict=True)):
            if strip.top == 0:
                self._disputed = _Disputed(str(self.ids[batch.rows.start + n]))
            self._disputed.add(maps, strip)
            if strip.top + mask_nhw.shape[1] == strip.height:
                best = sorted([*self._candidates, self._disputed], key=lambda image: -image.rank)
                self._candidates = best[:IMAGES]


@dataclass
class _Disputed:
    """An image, how much its members dispute it, and its maps: labels, decisions, entropy, mutual information."""

    id: str
    information: float = 0.0
    classes: set[int] = field(default_factory=set[int])
    maps: list[tuple[NDArray[Any], ...]] = field(default_factory=list[tuple[NDArray[Any], ...]])

    def add(self, maps: tuple[NDArray[Any], ...], strip: Strip) -> None:
        """Add the next rows; of a large image, only the pixels that a picture shows are kept."""
        labels_hw, _, _, information_hw = maps
        self.information += float(np.nan_to_num(information_hw).sum(dtype=np.float64))
        self.classes |= set(np.unique(labels_hw[labels_hw != VOID]).tolist())
        self.maps.append(tuple(thinned(each_hw, strip.height, strip.top) for each_hw in maps))

    @property
    def rank(self) -> float:
        """Sum of the mutual information, lowered for images of a single class."""
        return self.information - ONE_CLASS_PENALTY * (len(self.classes) < 2)

    def image(self) -> UncertainImage:
        """Return the maps for the explanation."""
        return UncertainImage(self.id, *(np.concatenate(each) for each in zip(*self.maps, strict=True)))


def _at_labelled(probs_nchw: NDArray[np.float32], mask_nhw: NDArray[np.bool_]) -> NDArray[np.float32]:
    return probs_nchw.transpose(1, 0, 2, 3)[:, mask_nhw]


def _confusion(labels_p: NDArray[np.uint8], decided_p: NDArray[Any], classes: int) -> NDArray[np.int64]:
    return confusion_per_image(labels_p[None, None], decided_p[None, None], classes)[0]
