"""Everything that explains an ensemble, from one pass over the stores of its members in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned, align
from ensemble.combining.arithmetic import tempered
from ensemble.combining.serialization import read_pool
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.calibration import fit_temperature, log_loss_sums, reliability
from ensemble.evaluation.coalitions import Coalitions
from ensemble.evaluation.confusion import confusion_per_image
from ensemble.evaluation.contribution import contributions
from ensemble.evaluation.diversity import LossSplit, PairTally, clipped_log, first_largest
from ensemble.evaluation.sampling import PixelSample, PixelSampler
from ensemble.evaluation.uncertainty import RiskTally, entropy, mutual_information
from ensemble.evaluation.void import VOID
from ensemble.explain.explanation import Calibration, Explanation, UncertainImage
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

SAMPLE = 100_000  # pixels that subsets and temperatures are judged on, shared equally by the classes
BATCH = 8  # images at once: their probabilities stay in the processor's cache
IMAGES = 4  # most disputed images whose maps are kept
SEVERAL = 1e12  # more than any sum of mutual information: images of one class come last
BLOCKS = 64  # image groups are dealt to at most so many blocks, which are resampled whole


def explain(
    ensemble: Ensemble | Path, *, sample: int = SAMPLE, seed: int = 0, progress: Progress = no_progress
) -> Explanation:
    """Explain an ensemble by the stored predictions of its members for images they did not train on.

    Counts (pairs, oracle, log-loss, risk) are over all labelled pixels; subsets of members and temperatures are judged
    on a fixed sample, in which a pixel of a class stands for as many as there are for each one drawn.

    Args:
        ensemble: an open ensemble, or its directory.
        sample: about how many labelled pixels the sample holds; classes with fewer than their share are in whole.
        seed: seed of the sample, the resamples and the halves that temperatures are fitted on.
        progress: callback that receives the progress.

    Raises:
        EnsError: no ensemble, members that are missing or damaged, or no labelled pixel.
    """
    found = ensemble if isinstance(ensemble, Ensemble) else Ensemble.open(ensemble)
    members = found.members()
    aligned = align(members)
    reading = _Reading(read_pool(found), aligned, max(1, sample // len(aligned.classes)), seed)
    for rows, probs_mnchw, labels_nhw in aligned.batches(BATCH):
        reading.add(rows, probs_mnchw, labels_nhw)
        progress("reading probabilities", rows.stop, len(aligned.ids))
    drawn = reading.sampler.sample()
    group_n = np.unique(np.asarray(aligned.groups), return_inverse=True)[1]
    order_g = np.random.default_rng(seed).permutation(group_n.max() + 1)  # names of groups may follow the place
    group_n = order_g[group_n]
    block_p = group_n[drawn.image_p] % BLOCKS
    coalitions = Coalitions(drawn.probs_scp[: len(members)], drawn.labels_p, drawn.weights_p, block_p)
    even = drawn.proportional(seed)
    return Explanation(
        name=found.name,
        method=found.settings.method,
        scores=found.scores,
        classes=aligned.classes,
        data=members[0].settings.data,
        data_hash=members[0].facts.data_hash,
        costs={member.name: _cost(member) for member in members},
        pairs=reading.pairs,
        split=reading.split,
        average_kk=reading.average_kk,
        ensemble_kk=reading.ensemble_kk,
        ensemble_loss_k=reading.ensemble_loss_k,
        risks=reading.risks,
        contribution=contributions(coalitions, seed=seed, progress=progress),
        calibrations=_calibrations(even, aligned.names, group_n[even.image_p] % 2, progress),
        sampled=drawn.size,
        images=[image for _, image in reading.images],
    )


def _cost(member: Member) -> dict[str, float]:
    """What a member takes, as far as it is recorded."""
    return {key: float(member.status.get(key) or math.nan) for key in ("parameters", "training_seconds")}


class _Reading:
    """What one pass over the stores adds up."""

    def __init__(self, pool: Any, aligned: Aligned, per_class: int, seed: int) -> None:
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
        """Count a batch."""
        mask_nhw = labels_nhw != VOID
        if not mask_nhw.any():
            return
        pooled_nchw = self.pool(probs_mnchw)
        decided_nhw = self.pool.decide(pooled_nchw).astype(np.uint8)
        probs_scp = np.stack([_flat(probs, mask_nhw) for probs in (*probs_mnchw, pooled_nchw)])
        labels_p, decided_p = labels_nhw[mask_nhw], decided_nhw[mask_nhw]
        probs_mcp, pooled_cp = probs_scp[:-1], probs_scp[-1]
        logs_scp = clipped_log(probs_scp)
        self.pairs.add(first_largest(probs_mcp.swapaxes(0, 1)), labels_p)
        self.split.add(logs_scp[:-1], labels_p)
        classes = len(pooled_cp)
        self.average_kk += _confusion(labels_p, first_largest(probs_mcp.mean(0)), classes)
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
        self._keep(rows, mask_nhw, labels_nhw, decided_nhw, scores)

    def _keep(
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
        disputed_n[one_class_n] -= SEVERAL
        for n in np.argsort(-disputed_n, kind="stable")[:IMAGES]:
            image = UncertainImage(
                id=str(self.ids[rows.start + int(n)]),
                labels_hw=labels_nhw[n].copy(),
                decided_hw=decided_nhw[n].copy(),
                entropy_hw=entropy_nhw[n].copy(),
                information_hw=information_nhw[n].copy(),
            )
            self.images.append((float(disputed_n[n]), image))
        self.images = sorted(self.images, key=lambda one: -one[0])[:IMAGES]


def _flat(probs_nchw: NDArray[np.float32], mask_nhw: NDArray[np.bool_]) -> NDArray[np.float32]:
    return probs_nchw.transpose(1, 0, 2, 3)[:, mask_nhw]


def _confusion(labels_p: NDArray[np.uint8], decided_p: NDArray[Any], classes: int) -> NDArray[np.int64]:
    return confusion_per_image(labels_p[None, None], decided_p[None, None], classes)[0]


def _calibrations(
    drawn: PixelSample, members: Sequence[str], half_p: NDArray[np.intp], progress: Progress
) -> dict[str, Calibration]:
    """Calibration of members, average and ensemble; the last two are called so."""
    probs_mcp, pooled_cp = drawn.probs_scp[:-1], drawn.probs_scp[-1]
    systems = {**dict(zip(members, probs_mcp, strict=True)), "average": probs_mcp.mean(0), "ensemble": pooled_cp}
    done: dict[str, Calibration] = {}
    for name, probs_cp in systems.items():
        done[name] = _calibration(probs_cp, drawn.labels_p, half_p)
        progress("fitting temperatures", len(done), len(systems))
    return done


def _calibration(probs_cp: NDArray[np.float32], labels_p: NDArray[np.uint8], half_p: NDArray[np.intp]) -> Calibration:
    """Fit a temperature on each half of the groups and apply it to the other (with one group: to itself)."""
    after_cp, temperatures = probs_cp.copy(), list[float]()
    for half in np.unique(half_p):
        here_p = half_p == half
        there_p = here_p if here_p.all() else ~here_p
        temperatures.append(fit_temperature(probs_cp[:, there_p], labels_p[there_p]))
        after_cp[:, here_p] = tempered(probs_cp[None, :, here_p], temperatures[-1])[0]
    tables: list[Any] = []
    for each_cp in (probs_cp, after_cp):
        case = each_cp[None, :, None], labels_p[None, None]
        tables += [reliability(*case), float(log_loss_sums(*case)[0]) / len(labels_p)]
    before, loss, after, loss_after = tables
    return Calibration(before, after, loss, loss_after, float(np.exp(np.log(temperatures).mean())))
