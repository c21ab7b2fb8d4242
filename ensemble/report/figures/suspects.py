"""The contact sheet of suspect images: image and mask, with row, score and reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.core.palette import class_colours
from ensemble.data import Dataset
from ensemble.data.cleaning.checks import REASONS, Suspect
from ensemble.report.figures.drawing import class_legend, new_figure, save_png
from ensemble.report.figures.thumbnails import shrink, stretched

WIDTH = 12.0  # width of the sheet in inches
GAP = 4  # pixels between image and mask
LONGEST_DETAIL = 70  # characters


def draw_suspects(dataset: Dataset, suspects: Sequence[Suspect], path: Path, worst: int = 12) -> None:
    """Write the contact sheet as PNG.

    Args:
        dataset: the data that were checked.
        suspects: from ``check_data``.
        path: path of the PNG.
        worst: most suspects shown for one reason.

    Raises:
        EnsError: the file cannot be written.
    """
    save_png(suspects_figure(dataset, suspects, worst), path)


def suspects_figure(dataset: Dataset, suspects: Sequence[Suspect], worst: int = 12) -> Figure:
    """Draw the worst suspects of every reason as image and mask with row and score; without suspects, a sentence."""
    by_reason = {reason: [one for one in suspects if one.reason == reason] for reason in REASONS}
    by_reason = {reason: sorted(some, key=lambda one: -one.score) for reason, some in by_reason.items() if some}
    if not by_reason:
        figure = new_figure(WIDTH, 0.6)
        figure.suptitle(f"{dataset.name}: no suspect among {len(dataset.ids)} images", fontsize=10)
        return figure
    height, width = np.median(dataset.sizes, axis=0)
    columns = min(worst, 6 if width <= 1.5 * height else 4)
    cell = WIDTH / columns * height / (2 * width) + 0.35  # inches: a pair of pictures and its two lines of text
    lines = [-(-min(worst, len(some)) // columns) for some in by_reason.values()]
    figure = new_figure(WIDTH, sum(lines) * cell + 0.4 * len(lines) + 0.6)
    parts = figure.subfigures(len(lines), 1, squeeze=False, height_ratios=[n * cell + 0.4 for n in lines])
    colours = class_colours(range(len(dataset.classes)))
    for part, count, (reason, some) in zip(parts[:, 0], lines, by_reason.items(), strict=True):
        shown = f", the worst {worst}" if len(some) > worst else ""
        part.suptitle(f"{reason}: {len(some)}{shown} ({REASONS[reason]})", fontsize=9, x=0.005, ha="left")
        axes = part.subplots(count, columns, squeeze=False).ravel()
        for axis in axes:
            axis.axis("off")
        for axis, suspect in zip(axes, some[:worst], strict=False):
            _draw_pair(axis, dataset, suspect, colours)
    class_legend(figure, dataset.classes, columns=8)
    return figure


def _draw_pair(axis: Any, dataset: Dataset, suspect: Suspect, colours: NDArray[np.uint8]) -> None:
    image, labels = dataset.image(suspect.row), dataset.label(suspect.row)
    picture, mask = stretched(image), colours[shrink(labels, cv2.INTER_NEAREST)]
    between = np.full((len(picture), GAP, 3), 255, np.uint8)
    axis.imshow(np.concatenate([picture, between, mask], axis=1), interpolation="nearest")
    name = f"row {suspect.row}" if suspect.id == str(suspect.row) else f"row {suspect.row} ({suspect.id})"
    title = f"{name}  score {suspect.score:.3g}\n{suspect.detail[:LONGEST_DETAIL]}"
    axis.set_title(title, fontsize=6, loc="left", pad=2)
