"""Figures of a tuning: how the trials went, what of the settings mattered, and what accuracy costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ensemble.core.files import atomic
from ensemble.report.drawing import ACCENT, DARK, ORANGE, name_rows, new_figure, plain_names

DPI = 150


@plain_names
def history_figure(table: pd.DataFrame) -> Figure:
    """MIoU of every trial on the inner hold-out, and the best so far.

    Args:
        table: from ``ensemble.study.tuning.table.trials_table``.

    >>> table = pd.DataFrame({"trial": [0, 1, 2], "state": ["complete", "pruned", "complete"], "miou": [0.4, 0.2, 0.6]})
    >>> history_figure(table).axes[0].get_lines()[0].get_ydata().tolist()
    [40.0, 60.0]
    """
    figure = new_figure(7.2, 4.0, "How did the trials go?")
    axis = figure.subplots()
    for state, colour, marker in (("pruned", "#999999", "x"), ("complete", DARK, "o")):
        rows = _scored(table, state)
        axis.scatter(rows["trial"], _percent(rows), color=colour, marker=marker, s=26, label=state, zorder=3)
    complete = _scored(table, "complete")
    best = np.maximum.accumulate(_percent(complete))
    axis.plot(complete["trial"], best, color=ACCENT, drawstyle="steps-post", linewidth=1.2, label="best so far")
    for first in _percent(complete[complete["trial"] == 0]):
        axis.axhline(first, color=ORANGE, linewidth=1, linestyle="--", label="defaults (trial 0)")
    _label(figure, "trial", "inner mIoU, % (selected: the best flatters)")
    axis.legend(fontsize=7, frameon=False)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@plain_names
def importance_figure(shares: Mapping[str, float], complete: int) -> Figure:
    """Share of the variance of mIoU that each option makes.

    Args:
        shares: of 1, by name, the largest first.
        complete: trials they are told from.

    >>> figure = importance_figure({"lr": 0.75, "arch.depth": 0.25}, 9)
    >>> [round(bar.get_width()) for bar in figure.axes[0].patches]
    [75, 25]
    """
    figure = new_figure(6.4, 1.5 + 0.32 * len(shares), f"Which settings mattered? (fANOVA on {complete} trials)")
    axis = figure.subplots()
    axis.barh(range(len(shares)), [100 * share for share in shares.values()], color=DARK, height=0.6)
    name_rows(axis, list(shares))
    axis.set_xlabel("share of the variance of the inner mIoU, %; rough below some 30 trials", fontsize=8)
    return figure


@plain_names
def price_figure(table: pd.DataFrame) -> Figure:
    """MIoU against seconds of training; those that no other trial beats in both are joined.

    >>> told = {"miou": [0.4, 0.3, 0.6], "seconds": [2, 3, 9]}
    >>> table = pd.DataFrame({"trial": [0, 1, 2], "state": "complete", **told})
    >>> price_figure(table).axes[0].get_lines()[0].get_xdata().tolist()
    [2.0, 9.0]
    """
    figure = new_figure(6.4, 4.2, "What does accuracy cost?")
    axis = figure.subplots()
    rows = _scored(table, "complete")
    rows = rows.iloc[np.lexsort((-_percent(rows), rows["seconds"]))]
    seconds, miou = rows["seconds"].to_numpy(dtype=np.float64), _percent(rows)
    front = miou > np.maximum.accumulate(np.array([-1.0, *miou[:-1]]))
    axis.scatter(seconds, miou, color="#999999", s=26, label="trial")
    axis.plot(seconds[front], miou[front], color=ACCENT, marker="o", label="beaten by none in both")
    for number, x, y in zip(rows["trial"].to_numpy()[front], seconds[front], miou[front], strict=True):
        axis.annotate(str(number), (x, y), xytext=(4, -9), textcoords="offset points", fontsize=7)
    _label(figure, "seconds of training", "inner mIoU, % (selected: the best flatters)")
    axis.legend(fontsize=7, frameon=False)
    return figure


def write_figures(table: pd.DataFrame, shares: Mapping[str, float], folder: Path, *, both: bool) -> tuple[Path, ...]:
    """Write ``history.png``, ``importance.png`` where there are importances, and ``price.png`` for two objectives."""
    figures = {"history": history_figure(table)}
    if shares:
        figures["importance"] = importance_figure(shares, len(_scored(table, "complete")))
    if both:
        figures["price"] = price_figure(table)
    for name, figure in figures.items():
        with atomic(folder / f"{name}.png") as stream:
            figure.savefig(stream, format="png", dpi=DPI)
    return tuple(folder / f"{name}.png" for name in figures)


def _scored(table: pd.DataFrame, state: str) -> pd.DataFrame:
    return pd.DataFrame(table[(table["state"] == state) & table["miou"].notna()])


def _percent(rows: Any) -> NDArray[np.float64]:
    return 100 * rows["miou"].to_numpy(dtype=np.float64)


def _label(figure: Figure, x: str, y: str) -> None:
    axis = figure.axes[0]
    axis.set_xlabel(x, fontsize=8)
    axis.set_ylabel(y, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
