"""Statistics of an ensemble and its members, from one pass over their stores in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    for rows, probs_mnchw, labels_nhw in aligned.batches(BATCH):
        statistics.add(rows, probs_mnchw, labels_nhw)
        progress("reading probabilities", rows.stop, len(aligned.ids))
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
        self.images: list[tuple[float, UncertainImage]] = []

    def add(self, rows: slice, probs_mnchw: NDArray[np.float32], labels_nhw: NDArray[np.uint8]) -> None:
        """Add a batch of images: their rows, the members' probabilities and the labels."""
        mask_nhw = labels_nhw != VOID
        if not mask_nhw.any():
            return
        pooled_nchw = self.pool(probs_mnchw)
        decided_nhw = self.pool.decide(pooled_nchw).astype(np.uint8)
        probs_scp = np.stack([_at_labelled(probs, mask_nhw) for probs in (*probs_mnchw, pooled_nchw)])
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
        self._keep_images(rows, mask_nhw, labels_nhw, decided_nhw, scores)

    def _keep_images(
        self,
        rows: slice,
        mask_nhw: NDArray[np.bool_],
        labels_nhw: NDArray[np.uint8],
        decided_nhw: NDArray[np.uint8],
        scores: Mapping[str, NDArray[np.floating[Any]]],
    ) -> None:
        """Keep the maps of the images with the largest sum of mutual information, those of several classes first."""
        entropy_nhw, information_nhw = (np.full(mask_nhw.shape, np.nan, np.float32) for _ in range(2))
        entropy_nhw[mask_nhw], information_nhw[mask_nhw] = scores["entropy"], scores["mutual information"]
        disputed_n = np.nan_to_num(information_nhw).sum((1, 2), dtype=np.float64)
        one_class_n = [len(np.unique(labels_hw[labels_hw != VOID])) < 2 for labels_hw in labels_nhw]
        disputed_n[one_class_n] -= ONE_CLASS_PENALTY
        for n in np.argsort(-disputed_n, kind="stable")[:IMAGES]:
            image = UncertainImage(
                id=str(self.ids[rows.start + int(n)]),
                labels_hw=labels_nhw[n].copy(),
                decided_hw=decided_nhw[n].copy(),
                entropy_hw=entropy_nhw[n].copy(),
                information_hw=information_nhw[n].copy(),
            )
            self.images.append((float(disputed_n[n]), image))
        self.images = sorted(self.images, key=lambda scored: -scored[0])[:IMAGES]


def _at_labelled(probs_nchw: NDArray[np.float32], mask_nhw: NDArray[np.bool_]) -> NDArray[np.float32]:
    return probs_nchw.transpose(1, 0, 2, 3)[:, mask_nhw]


def _confusion(labels_p: NDArray[np.uint8], decided_p: NDArray[Any], classes: int) -> NDArray[np.int64]:
    return confusion_per_image(labels_p[None, None], decided_p[None, None], classes)[0]
