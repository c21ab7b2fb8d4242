"""A figure of pictures in rows and columns above a legend of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.evaluation.strips import step_of
from ensemble.report.figures.drawing import class_legend, new_figure

PICTURE_WIDTH = 2.2  # inches


def picture_grid(
    columns: Sequence[tuple[str, Sequence[NDArray[Any]] | NDArray[Any]]],
    classes: Sequence[str],
    row_names: Sequence[str],
    *,
    title: str = "",
    void: str = "void",
) -> Figure:
    """Return a figure with a titled column of pictures per entry, a name per row, and the classes' colours below.

    Args:
        columns: titles and pictures, one picture per row: grey (h, w), each stretched to the full range, or RGB
            (h, w, 3). The pictures of a row have one size.
        classes: names of the classes.
        row_names: one name per row.
        title: title of the figure, if any.
        void: text of the legend for black.
    """
    heights = [PICTURE_WIDTH * picture.shape[0] / picture.shape[1] * 1.12 for picture in columns[0][1]]
    figure = new_figure(PICTURE_WIDTH * len(columns), sum(heights) + (1.0 if title else 0.7))
    if title:
        figure.suptitle(title, fontsize=10)
    axes = figure.subplots(len(row_names), len(columns), squeeze=False, height_ratios=heights)
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


def displayable(image_hwc: NDArray[Any]) -> NDArray[Any]:
    """Return the first three bands as RGB (h, w, 3), or the first of fewer bands as grey (h, w); thinned if large."""
    bands = image_hwc[..., :3] if image_hwc.shape[-1] >= 3 else image_hwc[..., 0]
    step = step_of(*bands.shape[:2])
    return bands[::step, ::step].copy()  # the whole image is not kept
