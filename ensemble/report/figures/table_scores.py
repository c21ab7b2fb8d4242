"""Figures of the results table with their captions: architecture by loss, and the IoU of every class."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble import results
from ensemble.core.formatting import in_percent
from ensemble.report.figures.drawing import (
    BLUE,
    CELL,
    ORANGE,
    heat_map,
    interval_points,
    name_rows,
    new_figure,
)
from ensemble.report.figures.svg import Chart, alt_list, shown_of
from ensemble.report.report_data import ReportData
from ensemble.report.short_names import short_names

MOST_PANELS = 3  # most classes side by side
MOST_SHOWN = 12  # most runs or classes of a chart
MOST_ROWS = 20  # most architectures and losses of a chart


def numbers(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column as floats, with NaN for missing values or for a missing column."""
    if column not in frame:
        return np.full(len(frame), np.nan)
    return frame[column].to_numpy(np.float64, na_value=np.nan)


def draw_scores(axis: Axes, frame: pd.DataFrame, column: str) -> None:
    """Draw a score in per cent with its interval, a row of the axis per row of the table: ensembles are orange."""
    kinds = frame["kind"].to_numpy(object) if "kind" in frame else np.full(len(frame), "member", object)
    value, low, high = (100 * numbers(frame, f"{column}{end}") for end in ("", "_low", "_high"))
    for kind, colour in (("member", BLUE), ("ensemble", ORANGE)):
        rows = np.flatnonzero(kinds == kind)
        interval_points(axis, rows, value[rows], low[rows], high[rows], colour)


def grid_figure(table: pd.DataFrame) -> Figure:
    """Draw a heat map of the members' mIoU by architecture and loss.

    Args:
        table: ``ensemble.results.pivot(frame, "architecture", "loss").means``: shares of 1, NaN where not trained.
    """
    rows, columns = [str(name) for name in table.index], [str(name) for name in table.columns]
    side = max(len(name) for name in rows) * 0.075
    width, height = side + max(3.2, 1.15 * CELL * len(columns)), 1.9 + max(1.0, 0.75 * CELL * len(rows))
    figure = new_figure(width, height, "mIoU by architecture and loss, %")
    heat_map(figure.subplots(), 100 * table.to_numpy(float), rows, columns)
    return figure


def classes_figure(frame: pd.DataFrame, classes: dict[str, str] | None = None) -> Figure:
    """Draw the IoU of every class with its interval: a panel per class, a row per run in the order of the table.

    Args:
        frame: the results table of one split: ``name``, ``iou_<class>`` and, where there are intervals,
            ``iou_<class>_low`` and ``iou_<class>_high``; optional ``kind`` (ensembles are orange).
        classes: titles of the panels by column, in the order to draw them (default: all classes of the table).
    """
    titles = classes or {name: results.column(name).title for name in results.class_columns(frame.columns)}
    across = 2 if len(titles) == 4 else min(MOST_PANELS, len(titles))
    down = -(-len(titles) // across)
    height = 0.9 + down * (0.75 + 0.24 * len(frame))
    figure = new_figure(2.3 + 2.6 * across, height, "Which classes are hard? (IoU, %)")
    axes: NDArray[np.object_] = figure.subplots(down, across, squeeze=False, sharey=True)
    names = short_names(frame["name"].astype(str).tolist())
    for axis, (name, title) in zip(axes.ravel(), titles.items(), strict=False):
        draw_scores(axis, frame, name)
        name_rows(axis, names)
        axis.set_title(title, fontsize=9)
    for axis in axes.ravel()[len(titles) :]:
        axis.axis("off")
    return figure


def grid_chart(data: ReportData) -> Chart | None:
    """Return the heat map of architectures and losses, or None if the members share both."""
    table = results.pivot(data.frame, "architecture", "loss").means
    if table.size < 2:
        return None
    table = table.loc[*(table.mean(axis=axis).sort_values(ascending=False).index for axis in (1, 0))]
    shown = table.iloc[:MOST_ROWS, :MOST_ROWS]
    caption = (
        "Each cell is the mIoU of a member, or the mean if several members share a cell. A blank cell has no member."
    )
    caption += shown_of(len(shown), len(table), "architectures")
    caption += shown_of(shown.shape[1], table.shape[1], "losses")
    known = [(float(value), row, loss) for (row, loss), value in shown.stack().items()]  # pyright: ignore[reportGeneralTypeIssues]
    alt = alt_list(
        "mIoU", [f"{row} with {loss} {in_percent(value)}" for value, row, loss in sorted(known, reverse=True)]
    )
    return Chart("grid", "Architecture and loss", caption, alt, partial(grid_figure, shown))


def classes_chart(data: ReportData) -> Chart | None:
    """Return the IoU per class of the best runs, or None if no class has a score."""
    names, frame = data.classes, data.frame.head(MOST_SHOWN)
    if not names:
        return None
    means = {column: float(np.nan_to_num(numbers(frame, column), nan=1.0).mean()) for column in names}
    hardest = sorted(names, key=means.__getitem__)[:MOST_SHOWN]
    shown = {column: name for column, name in names.items() if column in hardest}
    caption = "The IoU of each class with its 95 % interval. Ensembles are orange."
    caption += shown_of(len(frame), len(data.frame), "runs") + shown_of(len(shown), len(names), "classes", "hardest")
    best = {name: np.nan_to_num(numbers(frame, column)).max() for column, name in shown.items()}
    alt = alt_list("best IoU", [f"{name} {in_percent(value)}" for name, value in best.items()])
    return Chart("classes", "Classes", caption, alt, partial(classes_figure, frame, shown))
