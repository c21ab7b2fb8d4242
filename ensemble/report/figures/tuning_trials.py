"""Figures of a tuning: how the trials went, which settings mattered, and what accuracy costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ensemble.report.figures.drawing import (
    BLUE,
    ORANGE,
    RED,
    label_axis,
    name_rows,
    new_figure,
    save_png,
)

DPI = 150
INNER_MIOU = "inner mIoU, % (the best is too high: it was selected)"


def history_figure(table: pd.DataFrame) -> Figure:
    """Draw the mIoU of every trial on the inner hold-out, and the best mIoU so far.

    Args:
        table: from ``ensemble.study.tuning.table.trials_table``.

    >>> table = pd.DataFrame({"trial": [0, 1, 2], "state": ["complete", "pruned", "complete"], "miou": [0.4, 0.2, 0.6]})
    >>> history_figure(table).axes[0].get_lines()[0].get_ydata().tolist()
    [40.0, 60.0]
    """
    figure = new_figure(7.2, 4.0, "How did the trials go?")
    axis: Axes = figure.subplots()
    for state, colour, marker in (("pruned", "#999999", "x"), ("complete", BLUE, "o")):
        rows = _scored(table, state)
        axis.scatter(rows["trial"], _percent(rows), color=colour, marker=marker, s=26, label=state, zorder=3)
    complete = _scored(table, "complete")
    best = np.maximum.accumulate(_percent(complete))
    axis.plot(complete["trial"], best, color=RED, drawstyle="steps-post", linewidth=1.2, label="best so far")
    for first in _percent(complete[complete["trial"] == 0]):
        axis.axhline(first, color=ORANGE, linewidth=1, linestyle="--", label="defaults (trial 0)")
    label_axis(axis, "trial", INNER_MIOU)
    axis.legend(loc="lower right", fontsize=7, frameon=False)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def importance_figure(shares: Mapping[str, float], complete: int) -> Figure:
    """Draw the share of the variance of mIoU that each setting explains.

    Args:
        shares: shares of 1 by name of the setting, the largest first.
        complete: number of complete trials that the shares were computed from.

    >>> figure = importance_figure({"lr": 0.75, "arch.depth": 0.25}, 9)
    >>> [round(bar.get_width()) for bar in figure.axes[0].patches]
    [75, 25]
    """
    figure = new_figure(6.4, 1.5 + 0.32 * len(shares), f"Which settings mattered? (fANOVA on {complete} trials)")
    axis = figure.subplots()
    axis.barh(range(len(shares)), [100 * share for share in shares.values()], color=BLUE, height=0.6)
    name_rows(axis, list(shares))
    axis.set_xlabel("share of the variance of the inner mIoU, % (imprecise below about 30 trials)", fontsize=8)
    return figure


def price_figure(table: pd.DataFrame) -> Figure:
    """Draw mIoU against seconds of training; a line joins the trials that no other trial beats in both.

    >>> scores = {"miou": [0.4, 0.3, 0.6], "seconds": [2, 3, 9]}
    >>> table = pd.DataFrame({"trial": [0, 1, 2], "state": "complete", **scores})
    >>> price_figure(table).axes[0].get_lines()[0].get_xdata().tolist()
    [2.0, 9.0]
    """
    figure = new_figure(6.4, 4.2, "What does accuracy cost?")
    axis: Axes = figure.subplots()
    rows = _scored(table, "complete")
    rows = rows.iloc[np.lexsort((-_percent(rows), rows["seconds"]))]
    seconds, miou = rows["seconds"].to_numpy(dtype=np.float64), _percent(rows)
    front = miou > np.maximum.accumulate(np.array([-1.0, *miou[:-1]]))
    axis.scatter(seconds, miou, color="#999999", s=26, label="trial")
    axis.plot(seconds[front], miou[front], color=RED, marker="o", label="not beaten in both mIoU and time")
    for number, x, y in zip(rows["trial"].to_numpy()[front], seconds[front], miou[front], strict=True):
        axis.annotate(str(number), (x, y), xytext=(4, -9), textcoords="offset points", fontsize=7)
    label_axis(axis, "seconds of training", INNER_MIOU)
    axis.legend(loc="lower right", fontsize=7, frameon=False)
    return figure


def write_figures(table: pd.DataFrame, shares: Mapping[str, float], folder: Path, *, both: bool) -> tuple[Path, ...]:
    """Write ``history.png``, with importances ``importance.png``, and for two objectives ``price.png``.

    Args:
        table: from ``ensemble.study.tuning.table.trials_table``.
        shares: importances by name of the setting; may be empty.
        folder: folder of the files.
        both: mIoU and time were both optimised.

    Returns:
        The paths of the files.
    """
    figures = {"history": history_figure(table)}
    if shares:
        figures["importance"] = importance_figure(shares, len(_scored(table, "complete")))
    if both:
        figures["price"] = price_figure(table)
    return tuple(save_png(figure, folder / f"{name}.png", DPI) for name, figure in figures.items())


def _scored(table: pd.DataFrame, state: str) -> pd.DataFrame:
    return pd.DataFrame(table[(table["state"] == state) & table["miou"].notna()])


def _percent(rows: Any) -> NDArray[np.float64]:
    return 100 * rows["miou"].to_numpy(dtype=np.float64)
