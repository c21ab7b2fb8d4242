"""Figures of single runs with their captions: learning curves, confusion matrices and reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.formatting import in_percent
from ensemble.core.reading import guard
from ensemble.evaluation.calibration import expected_calibration_error
from ensemble.evaluation.confusion import Counts, Floats, divide_or_nan
from ensemble.report.figures.drawing import (
    MOST_ABREAST,
    NARROW_CELL,
    heat_map,
    label_axis,
    line_style,
    new_figure,
    reliability_curve,
)
from ensemble.report.figures.svg import Chart, alt_list, shown_of
from ensemble.report.figures.table_scores import MOST_SHOWN, numbers
from ensemble.report.report_data import ReportData
from ensemble.runs.layout import HISTORY
from ensemble.runs.tables import ImageTables, read_tables

MOST_NUMBERED = 12  # with more classes the cells are too small for their numbers


def learning_figure(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw training loss and validation mIoU by epoch, each the mean over the folds of a member.

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
    left.set_title("training loss (do not compare different losses)", fontsize=9)
    right.set_title("validation mIoU, %", fontsize=9)
    for axis in (left, right):
        label_axis(axis, "epoch")
    _legend_below(figure, left)
    return figure


def confusion_figure(confusions: Mapping[str, Counts], classes: Sequence[str]) -> Figure:
    r"""Draw confusion matrices in % of the pixels of each true class, :math:`100\, C_{ij} / \sum_j C_{ij}`.

    Args:
        confusions: pixel counts (k, k) by name, rows true, columns predicted.
        classes: names of the k classes.

    >>> from ensemble.report import figures
    >>> figure = figures.confusion_figure({"unet": np.array([[9, 1], [0, 5]])}, ["sky", "sea"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['90.0', '10.0', '0.0', '100.0']
    """
    many = len(classes) > MOST_ABREAST
    side = max(2.4, (NARROW_CELL if many else 0.52) * len(classes))
    across = 1 if many else min(2, len(confusions))
    down = -(-len(confusions) // across)
    figure = new_figure(1.6 + across * side, 0.7 + down * (side + 1.1), "Which classes are taken for which? (%)")
    axes: NDArray[np.object_] = figure.subplots(down, across, squeeze=False)
    digits = ".1f" if len(classes) <= MOST_NUMBERED else ""
    for place, (axis, (name, counts)) in enumerate(zip(axes.ravel(), confusions.items(), strict=False)):
        shares = 100 * divide_or_nan(counts.astype(np.float64), counts.sum(-1, keepdims=True, dtype=np.float64))
        texts = np.array([[f"{share:{digits}}" if digits else "" for share in row] for row in shares], np.object_)
        rows = classes if place % across == 0 else [""] * len(classes)
        heat_map(axis, shares, rows, classes, limits=(0, 100), texts=texts)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("predicted", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("true", fontsize=8)
    for axis in axes.ravel()[len(confusions) :]:
        axis.axis("off")
    return figure


def calibration_figure(tables: Mapping[str, Floats]) -> Figure:
    """Draw accuracy against confidence; bins with few pixels are left out.

    Args:
        tables: (3, bins) of ``ensemble.evaluation.reliability`` by name.
    """
    figure = new_figure(6.4, 5.2 + 0.1 * len(tables), "Is a pixel right as often as the network is sure?")
    axis: Axes = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for index, (name, table) in enumerate(tables.items()):
        label = f"{name}: ECE {in_percent(expected_calibration_error(table))}"
        axis.plot(*reliability_curve(table), marker="o", markersize=3, linewidth=1.2, label=label, **line_style(index))
    label_axis(axis, "confidence (mean of the bin)", "share of the pixels that are right")
    _legend_below(figure, axis)
    return figure


def _legend_below(figure: Figure, axis: Axes) -> None:
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7, frameon=False)


def learning_chart(data: ReportData) -> Chart | None:
    """Return the learning curves of the best members, or None if all were imported without curves."""
    histories = {member.name: _history(member.path) for member in data.members}
    histories = {name: history for name, history in histories.items() if len(history)}
    if not histories:
        return None
    shown = {data.short[name]: history for name, history in list(histories.items())[:MOST_SHOWN]}
    caption = (
        "A member keeps the weights of its last epoch, even if an earlier epoch scored higher, unless a note below the"
        " table says otherwise."
    )
    caption += shown_of(len(shown), len(histories), "members")
    alt = alt_list("epochs", [f"{name} {history['epoch'].max():.0f}" for name, history in shown.items()])
    return Chart("learning", "Learning", caption, alt, partial(learning_figure, shown))


def _history(path: Path) -> pd.DataFrame:
    with guard(path / HISTORY, "CSV", "train the member again"):
        return pd.read_csv(path / HISTORY)


def confusions_chart(data: ReportData) -> Chart | None:
    """Return the confusion matrices of the explained ensemble and of the best member."""
    runs: list[Any] = [run for run in (data.featured, *data.members[:1]) if run is not None]
    read = {run.name: images for run in runs if (images := read_images(run.path, data)) is not None}
    if not read:
        return None
    names = next(iter(read.values())).classes
    shown = {data.short[name]: images.confusions_nkk.sum(0) for name, images in read.items() if images.classes == names}
    counts_kk = next(iter(shown.values()))
    wrong_kk = counts_kk - np.diag(np.diag(counts_kk))
    true, predicted = np.unravel_index(int(wrong_kk.argmax()), wrong_kk.shape)
    share = wrong_kk[true, predicted] / max(1, counts_kk[true].sum())
    alt = f"the most frequent error: {in_percent(share)} of {names[true]} is predicted as {names[predicted]}"
    caption = "Each row shows, for the pixels of one true class, which share is predicted as each class."
    if data.featured is not None:
        caption += " The predictions of the ensemble are cross-fitted."
    return Chart("confusions", "Confusions", caption, alt, partial(confusion_figure, shown, names))


def calibration_chart(data: ReportData) -> Chart | None:
    """Return the reliability of the best runs, or None if their tables do not hold it."""
    read = {run.name: read_images(run.path, data) for run in (*data.ensembles[:2], *data.members[:MOST_SHOWN])}
    tables = {
        name: images.tables["reliability"].sum(0)
        for name, images in read.items()
        if images and "reliability" in images.tables
    }
    if not tables:
        return None
    shown = {data.short[name]: table for name, table in list(tables.items())[:MOST_SHOWN]}
    caption = (
        "Below the grey line a network is too sure of itself. ECE (expected calibration error) is the mean distance to"
        " the line over all pixels."
    )
    alt = alt_list("ECE", [f"{name} {in_percent(expected_calibration_error(table))}" for name, table in shown.items()])
    return Chart("calibration", "Calibration", caption, alt, partial(calibration_figure, shown))


def read_images(path: Path, data: ReportData) -> ImageTables | None:
    """Read the per-image tables of a run; add a note to the report if they cannot be read."""
    try:
        return read_tables(path)
    except EnsError as error:
        data.add_note(f"The figures leave out {path.name}: {error}.")
        return None
