"""The contact sheet of images to label next: the image, and where its members disagree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.quality import information_of
from ensemble.data import Dataset
from ensemble.evaluation.strips import PredictedBatch, shown_maps
from ensemble.report.figures.drawing import new_figure, save_png
from ensemble.report.figures.thumbnails import shrink, stretched

WIDTH, GAP = 12.0, 4  # inches; pixels between image and map


def draw_next(
    dataset: Dataset, aligned: Aligned, rows: Sequence[int], information: Sequence[float], path: Path
) -> None:
    """Write the contact sheet as PNG.

    Args:
        dataset: the data.
        aligned: the members' probabilities of its test images.
        rows: the chosen test images, the best first.
        information: their mutual information in nats.
        path: path of the PNG.

    Raises:
        EnsError: the file cannot be written.
    """

    def maps_of(batch: PredictedBatch) -> tuple[NDArray[np.float32]]:
        return (batch.cut(information_of(batch.probs_mnchw))[0],)

    shown = shown_maps(aligned.images(sorted(rows)), maps_of)
    maps = dict(zip(sorted(rows), (map_hw for (map_hw,) in shown), strict=True))
    pictures = [(dataset.test_image(row), maps[row]) for row in rows]
    values = zip(rows, information, strict=True)
    names = [f"{rank}. {aligned.ids[row]}  {value:.3f}" for rank, (row, value) in enumerate(values, 1)]
    save_png(next_figure(pictures, names), path)


def next_figure(pictures: Sequence[tuple[NDArray[np.generic], NDArray[np.float32]]], names: Sequence[str]) -> Figure:
    """Draw pairs of an image (h, w, bands) and the map (h, w) of its members' disagreement, on one scale for all."""
    top = max((float(map_hw.max()) for _, map_hw in pictures), default=0.0) or 1.0
    height, width = np.median([image.shape[:2] for image, _ in pictures], axis=0)
    columns = min(len(pictures), 5 if width <= 1.5 * height else 3)
    lines = -(-len(pictures) // columns)
    cell = WIDTH / columns * height / (2 * width) + 0.3  # inches: a pair of pictures and its line of text
    figure = new_figure(WIDTH, lines * cell + 0.5, "Which images to label next (bright: the members disagree; in nats)")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (image, map_hw), name in zip(axes, pictures, names, strict=False):
        picture = stretched(image)
        shown = cv2.resize(shrink(map_hw, cv2.INTER_AREA), picture.shape[1::-1], interpolation=cv2.INTER_AREA)
        heat = colormaps["cividis"](shown / top, bytes=True)[..., :3]
        between = np.full((len(picture), GAP, 3), 255, np.uint8)
        axis.imshow(np.concatenate([picture, between, heat], axis=1), interpolation="nearest")
        axis.set_title(name, fontsize=6, loc="left", pad=2)
    return figure
