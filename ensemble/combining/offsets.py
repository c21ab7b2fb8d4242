"""Fit class offsets that maximise the mean IoU of the decisions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import TINY
from ensemble.evaluation.confusion import mean_iou

LIMIT = 3.0  # largest offset: a factor of 20 in probability
STEP = 0.05
SHRINK = 0.005  # price of an offset of 1, in mIoU: half a point
ROUNDS = 10


def fit_offsets(
    probs_cp: NDArray[np.float32], labels_p: NDArray[np.uint8], *, shrink: float = SHRINK
) -> NDArray[np.float64]:
    r"""Return offsets (classes,) of the log-probabilities whose decisions have the largest mIoU, shrunk to zero.

    .. math:: \max_o\ \text{mIoU}\big(\arg\max_c \log p_{cp} + o_c\big) - \text{shrink} \sum_c o_c^2

    The search is a coordinate ascent over a grid from -3 to 3 in steps of 0.05. When the offset of one class grows,
    each pixel changes to that class at a certain threshold. One table of counts by threshold, true class and rival
    class therefore gives the mIoU at every value of the grid. The class with the most pixels keeps the offset 0.

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
    classes = len(probs_cp)
    logs_cp = np.log(np.maximum(probs_cp, TINY))
    fixed = int(np.bincount(labels_p, minlength=classes).argmax())
    offsets_c = np.zeros(classes)
    for _ in range(ROUNDS):
        before = offsets_c.copy()
        for c in range(classes):
            if c != fixed:
                offsets_c[c] = _best_value(logs_cp, labels_p, offsets_c, c, shrink)
        if (offsets_c == before).all():
            break
    return offsets_c


def _best_value(
    logs_cp: NDArray[np.float32], labels_p: NDArray[np.uint8], offsets_c: NDArray[np.float64], c: int, shrink: float
) -> float:
    """Return the offset of class ``c`` with the best penalised mIoU, others fixed; the smallest of equals."""
    count = round(LIMIT / STEP)
    grid_v = np.asarray(np.arange(-count, count + 1) * STEP, np.float64)
    tables_vkk = _confusions(logs_cp, labels_p, offsets_c, c, grid_v)
    value_v = mean_iou(tables_vkk) - shrink * np.square(grid_v)
    best_v = np.flatnonzero(value_v >= np.nanmax(value_v) - 1e-12)
    return float(grid_v[best_v[np.abs(grid_v[best_v]).argmin()]])


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
