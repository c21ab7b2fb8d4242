"""What the figures share: paper, colours, heat maps with their numbers, points with intervals, reliability curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ensemble.core.palette import OKABE_ITO
from ensemble.evaluation.confusion import Floats, divide_or_nan

CELL = 0.46  # inches of a cell of a heat map
FEWEST = 2e-3  # smaller shares of the pixels are too noisy to draw
DARK, ACCENT, ORANGE = "#0072b2", "#d55e00", "#e69f00"  # of Okabe and Ito; orange is the ensemble's
INK = [tuple(part / 255 for part in OKABE_ITO[index]) for index in (6, 3, 4, 5, 1, 7)]
STYLES = ("-", "--", ":", "-.")

plain_names = rc_context({"text.parse_math": False})
"""Decorator of figures: a class called ``$x$`` is written so, not as mathematics."""


def new_figure(width: float, height: float, title: str) -> Figure:
    """A figure that needs no display, laid out so that nothing is cut; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")  # seen where a narrow page shows the left part only
    return figure


def line_style(index: int) -> dict[str, Any]:
    """Colour and dashes that tell line ``index`` from the others, up to 24 of them."""
    return {"color": INK[index % len(INK)], "linestyle": STYLES[index // len(INK) % len(STYLES)]}


def whiskers(axis: Axes, place: ArrayLike, value: ArrayLike, low: ArrayLike, high: ArrayLike, colour: Any) -> None:
    """Points with their intervals along x, one per place on y; an interval that is NaN is left out."""
    axis.hlines(place, low, high, color=colour, linewidth=2, alpha=0.5)
    axis.scatter(value, place, color=colour, s=30, zorder=3)


def name_rows(axis: Axes, names: Sequence[str]) -> None:
    """Names beside the places 0, 1, 2 ..., the first on top."""
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", alpha=0.3)


def reliability_curve(table_3b: Floats) -> tuple[Floats, Floats]:
    """Mean confidence and accuracy of the bins of ``reliability`` that hold enough pixels."""
    count, confidence, right = table_3b[:, table_3b[0] >= FEWEST * table_3b[0].sum()]
    return divide_or_nan(confidence, count), divide_or_nan(right, count)


def heat_map(
    axis: Axes,
    table: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    colours: str = "cividis",
    *,
    centred: bool = False,
    limits: tuple[float, float] | None = None,
    texts: NDArray[np.object_] | None = None,
) -> None:
    """Cells with their numbers (or ``texts``), white on dark and black on light; NaN is left blank.

    Args:
        axis: where it is drawn.
        table: numbers (rows, columns).
        rows, columns: their names.
        colours: colour map.
        centred: zero is in the middle of the colours.
        limits: numbers of the first and the last colour; those of the table where left out.
        texts: what the cells say, (rows, columns); their rounded numbers where left out.
    """
    known = table[~np.isnan(table)]
    low, high = limits or ((known.min(), known.max()) if known.size else (0.0, 1.0))
    if centred:
        high = max(abs(low), abs(high))
        low = -high
    picture = axis.imshow(
        table, cmap=colours, vmin=low, vmax=high if high > low else low + 1, aspect="auto", interpolation="none"
    )
    digits = 0 if np.abs(known).max(initial=0) >= 100 else 1 if np.abs(known).max(initial=0) >= 2 else 2
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            text = f"{round(value, digits) + 0.0:.{digits}f}" if texts is None else str(texts[row, column])
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=_ink_on(picture, value))
    axis.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor", fontsize=8)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.tick_params(length=0)


def _ink_on(picture: Any, value: float) -> str:
    red, green, blue, _ = picture.cmap(picture.norm(value))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
