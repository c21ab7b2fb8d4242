"""A figure of pictures in rows and columns above a legend of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.report.figures.drawing import class_legend, new_figure

PICTURE_WIDTH = 2.2  # inches


def picture_grid(
    columns: Sequence[tuple[str, NDArray[Any]]],
    classes: Sequence[str],
    row_names: Sequence[str],
    *,
    title: str = "",
    void: str = "void",
) -> Figure:
    """Return a figure with a titled column of pictures per entry, a name per row, and the classes' colours below.

    Args:
        columns: titles and pictures, one picture per row: grey (n, h, w), each stretched to the full range, or RGB
            (n, h, w, 3).
        classes: names of the classes.
        row_names: one name per row.
        title: title of the figure, if any.
        void: text of the legend for black.
    """
    height, width = columns[0][1].shape[1:3]
    row_height = PICTURE_WIDTH * height / width * 1.12
    figure = new_figure(PICTURE_WIDTH * len(columns), row_height * len(row_names) + (1.0 if title else 0.7))
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
    class_legend(figure, classes, void=void)
    return figure


def displayable(images_nhwc: NDArray[Any]) -> NDArray[Any]:
    """Return the first three bands as RGB (n, h, w, 3), or the first of fewer bands as grey (n, h, w)."""
    return images_nhwc[..., :3] if images_nhwc.shape[-1] >= 3 else images_nhwc[..., 0]
