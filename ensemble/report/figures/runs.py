"""Figures of single runs: learning curves, confusion matrices and reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.evaluation.calibration import expected_calibration_error
from ensemble.evaluation.confusion import Counts, Floats, divide_or_nan
from ensemble.report.drawing import heat_map, line_style, new_figure, plain_names, reliability_curve
from ensemble.report.figures.scores import numbers

NUMBERED = 12  # with more classes the cells are too small for their numbers


@plain_names
def learning_figure(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Training loss and validation mIoU by epoch, the mean over the folds of a member.

    Args:
        histories: content of ``history.csv`` by name of the member: ``epoch``, ``train_loss``, ``val_miou``.
    """
    figure = new_figure(9.6, 3.9 + 0.1 * len(histories), "How did training go?")
    left, right = figure.subplots(1, 2)
    for index, (name, history) in enumerate(histories.items()):
        by_epoch = pd.DataFrame(history.groupby("epoch").mean(numeric_only=True))
        for axis, column, scale in ((left, "train_loss", 1), (right, "val_miou", 100)):
            value = scale * numbers(by_epoch, column)
            known = np.isfinite(value)
            axis.plot(by_epoch.index[known], value[known], marker="o", markersize=2.5, label=name, **line_style(index))
    left.set_title("training loss (losses of different kinds are on different scales)", fontsize=9)
    right.set_title("validation mIoU, %", fontsize=9)
    _finish([left, right], "epoch")
    return figure


@plain_names
def confusion_figure(confusions: Mapping[str, Counts], classes: Sequence[str]) -> Figure:
    r"""Confusion matrices in % of the pixels of each true class, :math:`100\, C_{ij} / \sum_j C_{ij}`.

    Args:
        confusions: pixel counts (k, k) by name, rows true, columns decided.
        classes: names of the k classes.

    >>> from ensemble.report import figures
    >>> figure = figures.confusion_figure({"unet": np.array([[9, 1], [0, 5]])}, ["sky", "sea"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['90.0', '10.0', '0.0', '100.0']
    """
    side = max(2.4, 0.52 * len(classes))
    across = min(2, len(confusions))
    down = -(-len(confusions) // across)
    figure = new_figure(1.6 + across * side, 0.7 + down * (side + 1.1), "Which classes are taken for which? (%)")
    axes: NDArray[np.object_] = figure.subplots(down, across, squeeze=False)
    for place, (axis, (name, counts)) in enumerate(zip(axes.ravel(), confusions.items(), strict=False)):
        shares = 100 * divide_or_nan(counts.astype(np.float64), counts.sum(-1, keepdims=True, dtype=np.float64))
        numbered = len(classes) <= NUMBERED
        texts = np.array([[f"{share:.1f}" if numbered else "" for share in row] for row in shares], np.object_)
        heat_map(
            axis, shares, classes if place % across == 0 else [""] * len(classes), classes, limits=(0, 100), texts=texts
        )
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("decided", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("true", fontsize=8)
    for axis in axes.ravel()[len(confusions) :]:
        axis.axis("off")
    return figure


@plain_names
def calibration_figure(tables: Mapping[str, Floats]) -> Figure:
    """Accuracy against confidence of several systems, as they are; bins with few pixels are left out.

    Args:
        tables: (3, bins) of ``ensemble.evaluation.reliability`` by name.
    """
    figure = new_figure(6.4, 5.2 + 0.1 * len(tables), "Is a pixel right as often as the system is sure?")
    axis: Axes = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for index, (name, table) in enumerate(tables.items()):
        label = f"{name}: ECE {100 * expected_calibration_error(table):.1f} %"
        axis.plot(*reliability_curve(table), marker="o", markersize=3, linewidth=1.2, label=label, **line_style(index))
    axis.set_ylabel("share of the pixels that are right", fontsize=8)
    _finish([axis], "confidence (mean of the bin)")
    return figure


def _finish(axes: Sequence[Axes], label: str) -> None:
    for axis in axes:
        axis.set_xlabel(label, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    where = axes[0].get_figure()
    assert where is not None
    where.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=7, frameon=False)
