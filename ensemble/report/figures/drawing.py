"""Elements that several figures share: layout, colours, legends, heat maps, intervals and reliability curves."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

from ensemble.core.files import atomic
from ensemble.core.palette import OKABE_ITO, class_colours
from ensemble.evaluation.confusion import Floats, divide_or_nan

CELL = 0.46  # width of a cell of a heat map, in inches
NARROW_CELL = 0.37  # the same if there are many
MOST_ABREAST = 10  # classes of heat maps that stand next to each other on a page
LETTER, LEGEND_GAP, LEGEND_ROW = 0.062, 0.6, 0.16  # inches of a letter, of the patch with its gaps, of a row
SMALLEST_SHARE = 2e-3  # curves through a smaller share of the pixels are too noisy to draw
BLUE, RED, ORANGE = "#0072b2", "#d55e00", "#e69f00"  # colours of Okabe and Ito; ensembles are always orange
LINE_COLOURS = [tuple(part / 255 for part in OKABE_ITO[index]) for index in (6, 3, 4, 5, 1, 7)]
LINE_STYLES = ("-", "--", ":", "-.")


class PlainFigure(Figure):
    """A figure that writes names as they are: ``$x$`` is no formula, and a sign that the font lacks is a box."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure; labels of ticks may be made only now."""
        with rc_context({"text.parse_math": False}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            for text in self.findobj(Text):
                text.set_parse_math(False)
            super().draw(renderer)


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """Return a figure that needs no display and cuts nothing off.

    Args:
        width, height: size in inches.
        title: title of the figure, if any. It stands on the left, because a narrow page shows the left part first.
    """
    figure = PlainFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def save_png(figure: Figure, path: Path, dpi: int = 110) -> Path:
    """Write a figure as PNG and return its path.

    Raises:
        EnsError: the file cannot be written.
    """
    with atomic(path) as stream:
        figure.savefig(stream, format="png", dpi=dpi)
    return path


def class_legend(figure: Figure, classes: Sequence[str], *, void: str = "void", columns: int = 0) -> None:
    """Write the colours of the classes, and black for void, below a figure, which becomes higher by their rows.

    Args:
        figure: the figure.
        classes: names of the classes.
        void: text for black.
        columns: most names in a row; 0 for as many as fit into the width.
    """
    colours = class_colours(range(len(classes)))
    handles = [Patch(color=colours[k] / 255, label=name) for k, name in enumerate(classes)]
    handles.append(Patch(color="black", label=void))
    longest = max(len(str(handle.get_label())) for handle in handles)
    fitting = max(1, int(figure.get_figwidth() / (LETTER * longest + LEGEND_GAP)))
    columns = min(columns or len(handles), len(handles), fitting)
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * (rows - 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=7, frameon=False)


def line_style(index: int) -> dict[str, Any]:
    """Return colour and dashes of line ``index``; the first 24 lines all look different."""
    style = LINE_STYLES[index // len(LINE_COLOURS) % len(LINE_STYLES)]
    return {"color": LINE_COLOURS[index % len(LINE_COLOURS)], "linestyle": style}


def label_axis(axis: Axes, x: str, y: str = "") -> None:
    """Name the axes and draw a light grid."""
    axis.set_xlabel(x, fontsize=8)
    axis.set_ylabel(y, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)


def interval_points(
    axis: Axes, place: ArrayLike, value: ArrayLike, low: ArrayLike, high: ArrayLike, colour: str
) -> None:
    """Draw a point per place on y with its interval along x; an interval of NaN is left out."""
    axis.hlines(place, low, high, color=colour, linewidth=2, alpha=0.5)
    axis.scatter(value, place, color=colour, s=30, zorder=3)


def name_rows(axis: Axes, names: Sequence[str]) -> None:
    """Write the names at the places 0, 1, 2 ... on y, the first one on top."""
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", alpha=0.3)


def reliability_curve(table_3b: Floats) -> tuple[Floats, Floats]:
    """Return mean confidence and accuracy of the bins of ``reliability`` that hold enough pixels."""
    count, confidence, right = table_3b[:, table_3b[0] >= SMALLEST_SHARE * table_3b[0].sum()]
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
    """Draw coloured cells with their numbers, white on dark and black on light; a cell of NaN stays blank.

    Args:
        axis: axes to draw on.
        table: numbers (rows, columns).
        rows, columns: their names.
        colours: name of the colour map.
        centred: put zero in the middle of the colour map.
        limits: numbers of the first and the last colour (default: smallest and largest number of the table).
        texts: texts of the cells, (rows, columns) (default: the rounded numbers).
    """
    known = table[~np.isnan(table)]
    low, high = limits or ((known.min(), known.max()) if known.size else (0.0, 1.0))
    if centred:
        high = max(abs(low), abs(high))
        low = -high
    picture = axis.imshow(
        table, cmap=colours, vmin=low, vmax=high if high > low else low + 1, aspect="auto", interpolation="none"
    )
    largest = np.abs(known).max(initial=0)
    digits = 0 if largest >= 100 else 1 if largest >= 2 else 2
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            text = f"{round(value, digits) + 0.0:.{digits}f}" if texts is None else str(texts[row, column])
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=_readable_on(picture, value))
    axis.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor", fontsize=8)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.tick_params(length=0)


def _readable_on(picture: Any, value: float) -> str:
    red, green, blue, _ = picture.cmap(picture.norm(value))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
