"""Fit class offsets that maximise the mean IoU of the decisions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import TINY
from ensemble.evaluation.confusion import mean_iou

LIMIT = 3.0  # largest distance of an offset from the mean of the others: a factor of 20 in probability
STEP = 0.05
SHRINK = 0.005  # price of an offset of 1, in mIoU: half a point
ROUNDS = 10
PUSH = 1.5  # offset of one class in a start of the search
PUSHED = 4  # classes that are pushed, the rarest
START_PIXELS = 25_000  # pixels on which the starts are tried
BETTER = 1e-4  # gain in mIoU for which a start is continued on all pixels


def fit_offsets(
    probs_cp: NDArray[np.float32], labels_p: NDArray[np.uint8], *, shrink: float = SHRINK
) -> NDArray[np.float64]:
    r"""Return offsets (classes,) of the log-probabilities whose decisions have the largest mIoU, shrunk to zero.

    .. math:: \max_o\ \text{mIoU}\big(\arg\max_c \log p_{cp} + o_c\big) - \text{shrink} \sum_c (o_c - \bar o)^2

    Equal offsets change nothing, so they are centred, and no class is special. The search is a coordinate ascent, the
    rarest class first, over a grid from -3 to 3 in steps of 0.05 around the mean of the others. When the offset of one
    class grows, each pixel changes to that class at a certain threshold. One table of counts by threshold, true class
    and rival class therefore gives the mIoU at every value of the grid. An ascent may end in a local optimum, so some
    more start: from no offsets, from a rare class pushed up or down, and from offsets that undo the frequencies. They
    run on some of the pixels; only one that is better there than that from no offsets goes on with all.

    Args:
        probs_cp: pooled probabilities (classes, pixels).
        labels_p: class of each pixel.
        shrink: price of a squared offset, in mIoU.

    Reference:
        Lipton et al., Optimal thresholding of classifiers to maximize F1 measure, 2014 (why the argmax is not the
        best decision for such scores); Nowozin, Optimal decisions from probabilistic models, 2014 (for the IoU).

    >>> probs = np.array([[0.6, 0.55, 0.9, 0.9], [0.4, 0.45, 0.1, 0.1]], np.float32)
    >>> offsets = fit_offsets(probs, np.array([1, 1, 0, 0], np.uint8))
    >>> (np.log(probs) + offsets[:, None]).argmax(0).tolist()
    [1, 1, 0, 0]
    """
    logs_cp = np.log(np.maximum(probs_cp, TINY))
    counts_c = np.bincount(labels_p, minlength=len(probs_cp))
    order = np.argsort(counts_c, kind="stable").tolist()
    step = -(-len(labels_p) // START_PIXELS)
    some = logs_cp[:, ::step], labels_p[::step]
    first, *others = [_ascend(*some, start_c, order, shrink) for start_c in _starts(counts_c, order)]
    best_c, best = _ascend(logs_cp, labels_p, np.zeros(len(probs_cp)), order, shrink)
    start_c, value = max(others, key=lambda found: found[1])
    if value > first[1] + BETTER:
        found_c, value = _ascend(logs_cp, labels_p, start_c, order, shrink)
        best_c = found_c if value > best else best_c
    return best_c - best_c.mean()


def _starts(counts_c: NDArray[np.int64], order: Sequence[int]) -> list[NDArray[np.float64]]:
    """Return offsets to start from, the first of which are all zero."""
    pushes = [sign * PUSH * np.eye(len(counts_c))[c] for c in order[:PUSHED] for sign in (1, -1)]
    rarity_c = -np.log(np.maximum(counts_c, 1) / counts_c.sum())
    return [np.zeros(len(counts_c)), *pushes, np.clip((rarity_c - rarity_c.mean()) / 2, -LIMIT, LIMIT)]


def _ascend(
    logs_cp: NDArray[np.float32],
    labels_p: NDArray[np.uint8],
    start_c: NDArray[np.float64],
    order: Sequence[int],
    shrink: float,
) -> tuple[NDArray[np.float64], float]:
    """Return the offsets where no single one can be moved to advantage, and their penalised mIoU."""
    offsets_c, value = start_c.copy(), -np.inf
    for _ in range(ROUNDS):
        before = offsets_c.copy()
        for c in order:
            offsets_c[c], value = _best_value(logs_cp, labels_p, offsets_c, c, shrink)
        if (offsets_c == before).all():
            break
    return offsets_c, value


def _best_value(
    logs_cp: NDArray[np.float32], labels_p: NDArray[np.uint8], offsets_c: NDArray[np.float64], c: int, shrink: float
) -> tuple[float, float]:
    """Return the offset of class ``c`` with the best penalised mIoU, others fixed, and that value.

    Of equal values it is the one closest to the mean of the other offsets.
    """
    count, others = round(LIMIT / STEP), np.delete(offsets_c, c)
    centre = float(others.mean()) if len(others) else 0.0
    away_v = np.asarray(np.arange(-count, count + 1) * STEP, np.float64)
    tables_vkk = _confusions(logs_cp, labels_p, offsets_c, c, centre + away_v)
    # The sum of squares around the mean of all is that of the others around theirs, plus this one's share.
    spread = np.square(others - centre).sum() + np.square(away_v) * len(others) / len(offsets_c)
    value_v = mean_iou(tables_vkk) - shrink * spread
    best_v = np.flatnonzero(value_v >= np.nanmax(value_v) - 1e-12)
    place = best_v[np.abs(away_v[best_v]).argmin()]
    return float(centre + away_v[place]), float(value_v[place])


def _confusions(
    logs_cp: NDArray[np.float32],
    labels_p: NDArray[np.uint8],
    offsets_c: NDArray[np.float64],
    c: int,
    grid_v: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return the confusion matrix (values, classes, classes) at every value of the offset of class ``c``."""
    classes, values = len(logs_cp), len(grid_v)
    shifted_cp = logs_cp + offsets_c.astype(np.float32)[:, None]
    shifted_cp[c] = -np.inf
    rival_p = shifted_cp.argmax(0)
    # A pixel belongs to class c at all values of the grid above its threshold.
    from_v = np.searchsorted(grid_v, shifted_cp.max(0).astype(np.float64) - logs_cp[c], side="right")
    cells = (from_v * classes + labels_p) * classes + rival_p
    moved = np.bincount(cells, minlength=(values + 1) * classes**2).reshape(values + 1, classes, classes)
    gone_vkk = moved[:-1].cumsum(0)
    tables_vkk = moved.sum(0) - gone_vkk
    tables_vkk[:, :, c] += gone_vkk.sum(2)
    return tables_vkk
