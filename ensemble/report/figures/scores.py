"""Figures of the results table: steps of an ablation, architecture x loss, and IoU per class."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.report.drawing import ACCENT, CELL, DARK, ORANGE, heat_map, name_rows, new_figure, plain_names, whiskers
from ensemble.report.short_names import short_names
from ensemble.results import class_columns, column

ACROSS = 3  # most classes side by side


def kinds_of(frame: pd.DataFrame) -> NDArray[np.object_]:
    """The column ``kind``; members where there is none."""
    return frame["kind"].to_numpy(object) if "kind" in frame else np.full(len(frame), "member", object)


def numbers(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column as floats; NaN where nothing stands, or everywhere where there is no such column."""
    if column not in frame:
        return np.full(len(frame), np.nan)
    return frame[column].to_numpy(np.float64, na_value=np.nan)


@plain_names
def ladder_figure(steps: pd.DataFrame, title: str = "What did each step bring?") -> Figure:
    """mIoU of each step with its interval and, beside it, the gain over what it is compared with.

    Args:
        steps: a row per step, the first on top: ``name``, ``miou``, ``miou_low``, ``miou_high``; optional ``change``
            (what the step changed, in words), ``kind`` (ensembles are orange), and ``gain``, ``gain_low``,
            ``gain_high``, paired differences. Scores are shares of 1.
        title: of the figure.

    >>> from ensemble.report import figures
    >>> steps = pd.DataFrame({"name": ["unet", "+ weights"], "miou": [0.4, 0.5], "gain": [np.nan, 0.1]})
    >>> [axis.get_xlabel() for axis in figures.ladder_figure(steps).axes]
    ['mIoU, %', 'gain, points of mIoU']
    """
    place, gain = np.arange(len(steps)), 100 * numbers(steps, "gain")
    changes = steps["change"] if "change" in steps else [""] * len(steps)
    names = [f"{name}\n{change}" if change else str(name) for name, change in zip(steps["name"], changes, strict=True)]
    two = bool(np.isfinite(gain).any())
    figure = new_figure(
        9.6 if two else 7.2, 1.5 + (0.38 if any("\n" in name for name in names) else 0.3) * len(names), title
    )
    panels = figure.subplots(1, 1 + two, squeeze=False, sharey=True)[0].tolist()
    kinds = kinds_of(steps)
    value, low, high = (100 * numbers(steps, f"miou{end}") for end in ("", "_low", "_high"))
    for kind, colour in (("member", DARK), ("ensemble", ORANGE)):
        at = kinds == kind
        whiskers(panels[0], place[at], value[at], low[at], high[at], colour)
    name_rows(panels[0], names)
    panels[0].set_xlabel("mIoU, %", fontsize=8)
    if two:
        axis: Axes = panels[1]
        whiskers(axis, place, gain, 100 * numbers(steps, "gain_low"), 100 * numbers(steps, "gain_high"), ACCENT)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_xlabel("gain, points of mIoU", fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="x", alpha=0.3)
    return figure


@plain_names
def grid_figure(table: pd.DataFrame) -> Figure:
    """Heat map of the members' mIoU by architecture and loss.

    Args:
        table: ``ensemble.results.pivot(frame, "architecture", "loss").means``: shares of 1, NaN where not trained.
    """
    rows, columns = [str(name) for name in table.index], [str(name) for name in table.columns]
    side = max(len(name) for name in rows) * 0.075
    width, height = side + max(3.2, 1.15 * CELL * len(columns)), 1.9 + max(1.0, 0.75 * CELL * len(rows))
    figure = new_figure(width, height, "Which architecture goes with which loss? (mIoU, %)")
    heat_map(figure.subplots(), 100 * table.to_numpy(float), rows, columns)
    return figure


@plain_names
def classes_figure(frame: pd.DataFrame, classes: dict[str, str] | None = None) -> Figure:
    """IoU of every class with its interval, a panel per class and a row per run, in the order of the table.

    Args:
        frame: the results table of one split: ``name``, ``iou_<class>`` and, where there are intervals,
            ``iou_<class>_low`` and ``iou_<class>_high``; optional ``kind`` (ensembles are orange).
        classes: titles of the panels by column; the panels are these, in this order.
    """
    titles = classes or {name: column(name).title for name in class_columns(frame.columns)}
    across = 2 if len(titles) == 4 else min(ACROSS, len(titles))
    down = -(-len(titles) // across)
    height = 0.9 + down * (0.75 + 0.24 * len(frame))
    figure = new_figure(2.3 + 2.6 * across, height, "Which classes are hard? (IoU, %)")
    axes: NDArray[np.object_] = figure.subplots(down, across, squeeze=False, sharey=True)
    kinds = kinds_of(frame)
    place, names = np.arange(len(frame)), short_names(frame["name"].astype(str).tolist())
    for axis, (name, title) in zip(axes.ravel(), titles.items(), strict=False):
        value, low, high = (100 * numbers(frame, f"{name}{end}") for end in ("", "_low", "_high"))
        for kind, colour in (("member", DARK), ("ensemble", ORANGE)):
            at = kinds == kind
            whiskers(axis, place[at], value[at], low[at], high[at], colour)
        name_rows(axis, names)
        axis.set_title(title, fontsize=9)
    for axis in axes.ravel()[len(titles) :]:
        axis.axis("off")
    return figure
