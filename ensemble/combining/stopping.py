"""When images stop in a cascade: the order of the members, and thresholds that keep most of the ensemble's gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.arithmetic import FLOOR
from ensemble.combining.cascade import ALWAYS, NEVER, WHOLE, Cascade, unsureness
from ensemble.combining.convex_weights import fit_convex_weights, log_loss
from ensemble.combining.fit_data import FitData
from ensemble.core import threads
from ensemble.core.equal_sizes import WHOLE_PIXELS
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress
from ensemble.core.threads import in_threads
from ensemble.evaluation.strips import PredictedBatch
from ensemble.evaluation.void import VOID

MOST = 200_000  # pixels that orders are compared on
PRICES, CHEAPEST, DEAREST = 80, 1e-4, 1e2  # prices of an evaluation that are tried, in mean gains of an image

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StoppedEarly:
    """What a cascade does to images, next to the first member and the full ensemble; losses are cross-fitted.

    Attributes:
        first_n: sum of the log-loss of each image by the first member of its fold, the best one on the other folds.
        stopped_n: that of the cascade.
        full_n: that of the full ensemble.
        evaluated_n: members that predict each image in the cascade of all images, which no label decides.
        members: members of the full ensemble.
        losses_kn: log-loss of each image after each stage of the cascade of all images, from which, with `unsure_kn`
            and ``keep``, its thresholds follow.
        unsure_kn: how unsure each image is there.
        keep: share of the gain that was asked for.
    """

    first_n: Floats
    stopped_n: Floats
    full_n: Floats
    evaluated_n: NDArray[np.int64]
    members: int
    losses_kn: Floats
    unsure_kn: Floats
    keep: float

    def arrays(self) -> dict[str, Floats]:
        """Return tables with a row per image, of which `from_arrays` makes the same again."""
        out_n3 = np.stack([self.first_n, self.stopped_n, self.full_n], axis=1)
        return {"cascade_log_loss": out_n3, "stage_log_loss": self.losses_kn.T, "stage_entropy": self.unsure_kn.T}

    @classmethod
    def from_arrays(cls, tables: Mapping[str, NDArray[Any]], thresholds: Sequence[float], keep: float) -> StoppedEarly:
        """Return what tables say of the cascade of all images, which has these thresholds."""
        names = ("cascade_log_loss", "stage_log_loss", "stage_entropy")
        out_3n, losses_kn, unsure_kn = (np.ascontiguousarray(tables[name].T) for name in names)
        evaluated_n = 1 + stages_of(unsure_kn, thresholds)
        return cls(out_3n[0], out_3n[1], out_3n[2], evaluated_n, len(losses_kn), losses_kn, unsure_kn, keep)


def order_members(fit_data: FitData) -> list[int]:
    """Return all members, the best one first, then always the one whose best weights lower the log-loss most."""
    true_probs_pm = fit_data.thin(MOST).true_probs_pm

    def loss(places: Sequence[int]) -> float:
        probs_pm = np.take(true_probs_pm, places, axis=1)
        return log_loss(probs_pm, fit_convex_weights(probs_pm))

    order, left = list[int](), list(range(fit_data.members))
    while left:
        order.append(min(left, key=lambda place: loss([*order, place])))
        left.remove(order[-1])
    return order


def stop_early(
    aligned: Aligned,
    pools: Sequence[Cascade],
    fold_n: NDArray[np.int64],
    keep: float,
    progress: Progress,
) -> tuple[list[Cascade], StoppedEarly]:
    """Return the cascades with thresholds, each from the images that it was fitted on, in one pass over the stores.

    Args:
        aligned: the members' stores.
        pools: the cascade of all images, then those that were fitted without each fold.
        fold_n: fold of each image.
        keep: share of the gain of the full ensemble over the first member, in log-loss, that shall remain.
        progress: callback that receives the progress.

    Raises:
        EnsError: images that are predicted in tiles.
    """
    _check_sizes(aligned)
    found, every = list[Cascade](), _measure(aligned, pools, progress)
    for fold, (pool, stages) in enumerate(zip(pools, every, strict=True), -1):  # no image has the fold -1
        known_n = fold_n != fold
        found.append(pool.stopping(fit_thresholds(stages.losses_kn[:, known_n], stages.unsure_kn[:, known_n], keep)))
    return found, _stopped(found, every, fold_n, keep)


def stopped_early(
    aligned: Aligned, pools: Sequence[Cascade], fold_n: NDArray[np.int64], keep: float, progress: Progress
) -> StoppedEarly:
    """Return what cascades do to the images with the thresholds that they have; see `stop_early`."""
    return _stopped(pools, _measure(aligned, pools, progress), fold_n, keep)


def _measure(aligned: Aligned, pools: Sequence[Cascade], progress: Progress) -> list[_Stages]:
    """Return what each stage of each cascade makes of each image."""
    found = [_Stages.of(pool, len(aligned.ids)) for pool in pools]
    for batch in aligned.batches(halo=WHOLE):
        in_threads(partial(_Stages.add, batch=batch), found, threads.CORES)
        progress("stopping early", batch.rows.stop, len(aligned.ids))
    return found


def _stopped(
    pools: Sequence[Cascade], every: Sequence[_Stages], fold_n: NDArray[np.int64], keep: float
) -> StoppedEarly:
    """Return what happens to each image in the cascade that was fitted without its fold, and in that of all images."""
    first_n, stopped_n, full_n = np.zeros((3, len(fold_n)))
    for fold, (pool, stages) in enumerate(zip(pools[1:], every[1:], strict=True)):
        held = np.flatnonzero(fold_n == fold)
        stage_n = stages_of(stages.unsure_kn[:, held], pool.thresholds)
        first_n[held], full_n[held] = stages.losses_kn[0, held], stages.losses_kn[-1, held]
        stopped_n[held] = stages.losses_kn[stage_n, held]
    losses_kn, unsure_kn = every[0].losses_kn, every[0].unsure_kn
    evaluated_n = 1 + stages_of(unsure_kn, pools[0].thresholds)
    return StoppedEarly(first_n, stopped_n, full_n, evaluated_n, len(losses_kn), losses_kn, unsure_kn, keep)


def _check_sizes(aligned: Aligned) -> None:
    for (height, width), name in zip(aligned.sizes, aligned.ids, strict=True):
        if height * width > WHOLE_PIXELS:
            raise EnsError(
                f"expected validation images of at most {WHOLE_PIXELS:,} pixels for a cascade, because it decides"
                f" image by image, but {name} has {height}x{width}; cut the images into tiles, or leave the cascade out"
            )


@dataclass(frozen=True, eq=False)
class _Stages:
    """What each stage of a cascade makes of each image: its log-loss summed over pixels (k, n), and its unsureness."""

    pool: Cascade
    losses_kn: Floats
    unsure_kn: Floats

    @classmethod
    def of(cls, pool: Cascade, images: int) -> _Stages:
        return cls(pool, *np.zeros((2, len(pool.order), images)))

    def add(self, batch: PredictedBatch) -> None:
        for number, stage in enumerate(self.pool.stages):
            pooled = stage(batch.probs_mnchw[list(self.pool.order[: number + 1])])
            self.losses_kn[number, batch.rows] = image_losses(pooled, batch.labels_nhw)
            self.unsure_kn[number, batch.rows] = unsureness(pooled)


def image_losses(probs_nchw: NDArray[np.float32], labels_nhw: NDArray[np.uint8]) -> Floats:
    """Return the sum of the log-loss over the labelled pixels of each image (n,)."""
    known_nhw = labels_nhw != VOID
    place_n1hw = np.where(known_nhw, labels_nhw, 0)[:, None]
    true_nhw = np.take_along_axis(probs_nchw, place_n1hw, 1)[:, 0]
    logs_nhw = np.log(np.maximum(true_nhw, np.float32(FLOOR))) * known_nhw
    return -logs_nhw.sum((1, 2), dtype=np.float64)


def fit_thresholds(losses_kn: Floats, unsure_kn: Floats, keep: float) -> tuple[float, ...]:
    r"""Return the thresholds (k - 1) with the fewest evaluations of members that keep a share of the gain.

    What an image gains from going on is taken as proportional to how unsure it is, :math:`b_k u`, with
    :math:`b_k = \sum_n g_{kn} / \sum_n u_{kn}`, where :math:`g_{kn}` is the loss after stage k minus the loss and the
    price of the evaluations if it goes on and stops where later thresholds say. So for a price of an evaluation an
    image stops at :math:`u \le` price / :math:`b_k`, and all thresholds follow from one number, the price, the last
    one first. Thresholds that are free fit the noise of the images: on real members they kept 89 % where 95 % were
    asked for. Of many prices, the one with the fewest evaluations is taken whose gain, from the first stage to the
    last, is at least the share; if there is none, the one with the largest gain. Without a gain no image stops early.

    Args:
        losses_kn: loss of each image after each stage.
        unsure_kn: what is compared with the thresholds.
        keep: the share of the gain.
    """
    gain, images = losses_kn[0].sum() - losses_kn[-1].sum(), losses_kn.shape[1]
    if len(losses_kn) == 1 or not gain > 0:
        return (NEVER,) * (len(losses_kn) - 1)
    thresholds_pk = _at_prices(losses_kn, unsure_kn, gain / images * np.geomspace(CHEAPEST, DEAREST, PRICES))
    stage_pn = stages_of(unsure_kn, thresholds_pk)
    kept_p, evaluations_p = kept_gain(losses_kn, stage_pn), stage_pn.sum(-1)
    good_p = kept_p >= keep
    best = int(np.where(good_p, evaluations_p, np.inf).argmin() if good_p.any() else kept_p.argmax())
    return tuple(thresholds_pk[best].tolist())


def _at_prices(losses_kn: Floats, unsure_kn: Floats, price_p: Floats) -> Floats:
    """Return the thresholds (p, k - 1) for prices of an evaluation, each given the later ones."""
    thresholds_kp, value_pn = list[Floats](), np.broadcast_to(losses_kn[-1], (len(price_p), losses_kn.shape[1]))
    for losses_n, unsure_n in zip(losses_kn[-2::-1], unsure_kn[-2::-1], strict=True):
        gain_p, unsure = (losses_n - value_pn).sum(1), float(unsure_n.sum())
        gains_p = gain_p > 0
        found_p = np.divide(price_p * unsure, gain_p, out=np.full(len(price_p), ALWAYS), where=gains_p)
        thresholds_kp.append(np.minimum(ALWAYS, found_p))
        value_pn = np.where(unsure_n <= thresholds_kp[-1][:, None], losses_n, value_pn + price_p[:, None])
    return np.stack(thresholds_kp[::-1], axis=1)


def kept_gain(losses_kn: Floats, stage_n: NDArray[np.intp]) -> Floats:
    """Return which share of the gain from the first stage to the last remains if images stop at stages (..., n)."""
    gain = losses_kn[0].sum() - losses_kn[-1].sum()
    return (losses_kn[0].sum() - losses_kn[stage_n, np.arange(stage_n.shape[-1])].sum(-1)) / gain


def stages_of(unsure_kn: Floats, thresholds_k: Sequence[float] | Floats) -> NDArray[np.intp]:
    """Return the stage, from 0, at which each image stops: the first whose threshold it does not exceed.

    Args:
        unsure_kn: unsureness of each image after each stage.
        thresholds_k: those after each stage but the last (..., k - 1).

    Returns:
        (..., n).

    >>> stages_of(np.array([[0.1, 0.9, 0.9], [0.1, 0.2, 0.9], [0.1, 0.2, 0.3]]), (0.5, 0.5)).tolist()
    [0, 1, 2]
    """
    goes_on_kn = unsure_kn[:-1] > np.asarray(thresholds_k)[..., None]
    return np.logical_and.accumulate(goes_on_kn, axis=-2).sum(-2)
