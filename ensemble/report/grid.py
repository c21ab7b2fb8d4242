"""A figure of pictures in rows and columns over a legend of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ensemble.core.palette import class_colours

CELL = 2.2  # inches per column


def picture_grid(
    columns: Sequence[tuple[str, NDArray[Any]]],
    classes: Sequence[str],
    row_names: Sequence[str],
    *,
    title: str = "",
    void: str = "void",
) -> Figure:
    """Figure with a column of pictures per title, a name per row, and the classes' colours and void below.

    Args:
        columns: titles and pictures, one per row: grey (n, h, w), each stretched to the full range, or RGB
            (n, h, w, 3).
        classes: names of the classes.
        row_names: one name per row.
        title: title of the figure, if any.
        void: what the legend says of black.
    """
    height, width = columns[0][1].shape[1:3]
    size = (CELL * len(columns), CELL * height / width * len(row_names) * 1.12 + (1.0 if title else 0.7))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=10)
    axes = figure.subplots(len(row_names), len(columns), squeeze=False)
    for column, (name, pictures) in enumerate(columns):
        axes[0, column].set_title(name, fontsize=8)
        for axis, picture in zip(axes[:, column], pictures, strict=True):
            axis.imshow(picture, cmap="gray", interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, name in zip(axes[:, 0], row_names, strict=True):
        axis.set_ylabel(name, fontsize=7)
    colours = class_colours(range(len(classes)))
    handles = [Patch(color=colours[k] / 255, label=name) for k, name in enumerate(classes)]
    handles.append(Patch(color="black", label=void))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=7, frameon=False)
    return figure
