"""Explain an ensemble by the predictions that its members stored for their validation images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import align
from ensemble.combining.arithmetic import tempered
from ensemble.combining.serialization import read_pool
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.calibration import fit_temperature, log_loss_sums, reliability
from ensemble.evaluation.coalitions import Coalitions
from ensemble.evaluation.contribution import contributions
from ensemble.evaluation.sampling import PixelSample
from ensemble.explanation.result import Calibration, Explanation
from ensemble.explanation.statistics import collect_statistics
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

SAMPLE = 100_000  # pixels for judging subsets and temperatures; every class gets an equal share
BLOCKS = 64  # image groups are dealt to at most this many blocks, and the blocks are resampled whole


def explain(
    ensemble: Ensemble | Path, *, sample: int = SAMPLE, seed: int = 0, progress: Progress = no_progress
) -> Explanation:
    """Explain an ensemble by the stored predictions of its members for images they did not train on.

    Pairs, oracle, log-loss and risk are counted over all labelled pixels. Subsets of members and temperatures are
    judged on a fixed sample, which draws the same number of pixels from every class; each drawn pixel has the weight
    of the pixels of its class that it stands for.

    Args:
        ensemble: an open ensemble, or its directory.
        sample: approximate number of labelled pixels in the sample; a class with fewer than its share is taken whole.
        seed: seed of the sample, of the resamples and of the halves that temperatures are fitted on.
        progress: callback that receives the progress.

    Returns:
        The explanation, with its tables as DataFrames.

    Raises:
        EnsError: the directory holds no ensemble, members are missing or damaged, or no pixel is labelled.
    """
    opened = ensemble if isinstance(ensemble, Ensemble) else Ensemble.open(ensemble)
    members = opened.members()
    aligned = align(members)
    statistics = collect_statistics(aligned, read_pool(opened), sample, seed, progress)
    drawn = statistics.sampler.sample()
    group_n = np.unique(np.asarray(aligned.groups), return_inverse=True)[1]
    order_g = np.random.default_rng(seed).permutation(group_n.max() + 1)  # names of groups may follow the place
    group_n = order_g[group_n]
    block_p = group_n[drawn.image_p] % BLOCKS
    coalitions = Coalitions(drawn.probs_scp[: len(members)], drawn.labels_p, drawn.weights_p, block_p)
    even = drawn.proportional(seed)
    return Explanation(
        name=opened.name,
        method=opened.settings.method,
        scores=opened.scores,
        classes=aligned.classes,
        data=members[0].settings.data,
        data_hash=members[0].facts.data_hash,
        costs={member.name: _cost(member) for member in members},
        pairs=statistics.pairs,
        split=statistics.split,
        average_kk=statistics.average_kk,
        ensemble_kk=statistics.ensemble_kk,
        ensemble_loss_k=statistics.ensemble_loss_k,
        risks=statistics.risks,
        contribution=contributions(coalitions, seed=seed, progress=progress),
        calibrations=_calibrations(even, aligned.names, group_n[even.image_p] % 2, progress),
        sampled=drawn.size,
        images=statistics.images,
    )


def _cost(member: Member) -> dict[str, float]:
    """Return the parameters and the training seconds of a member, NaN where they are not recorded."""
    return {key: float(member.status.get(key) or math.nan) for key in ("parameters", "training_seconds")}


def _calibrations(
    drawn: PixelSample, members: Sequence[str], half_p: NDArray[np.intp], progress: Progress
) -> dict[str, Calibration]:
    """Return the calibration of every member, of the ``average`` and of the ``ensemble``."""
    probs_mcp, pooled_cp = drawn.probs_scp[:-1], drawn.probs_scp[-1]
    systems = {**dict(zip(members, probs_mcp, strict=True)), "average": probs_mcp.mean(0), "ensemble": pooled_cp}
    calibrations: dict[str, Calibration] = {}
    for name, probs_cp in systems.items():
        calibrations[name] = _calibration(probs_cp, drawn.labels_p, half_p)
        progress("fitting temperatures", len(calibrations), len(systems))
    return calibrations


def _calibration(probs_cp: NDArray[np.float32], labels_p: NDArray[np.uint8], half_p: NDArray[np.intp]) -> Calibration:
    """Fit a temperature on each half of the groups and apply it to the other half; a single group serves as both."""
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
