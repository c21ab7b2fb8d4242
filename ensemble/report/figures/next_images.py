"""The contact sheet of images to label next: the image, and where its members disagree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.report.figures.drawing import new_figure, save_png
from ensemble.report.figures.thumbnails import shrink, stretched

WIDTH, GAP = 12.0, 4  # inches; pixels between image and map
LONGEST_NAME = 30  # characters above a pair of pictures, if five are in a row


def draw_next(
    pictures: Sequence[tuple[NDArray[np.generic], NDArray[np.float32]]],
    ids: Sequence[str],
    information: Sequence[float],
    path: Path,
) -> None:
    """Write the contact sheet as PNG.

    Args:
        pictures: the chosen images, the best first, and the map of each.
        ids: their names.
        information: their mutual information in nats.
        path: path of the PNG.

    Raises:
        EnsError: the file cannot be written.
    """
    values = zip(ids, information, strict=True)
    names = [f"{rank}. {shortened(name)}  {value:.3f}" for rank, (name, value) in enumerate(values, 1)]
    save_png(next_figure(pictures, names), path)


def shortened(name: str) -> str:
    """Return the beginning and the end of a name that is too long to stand above a pair of pictures.

    >>> shortened("a" * 20 + "b" * 20)
    'aaaaaaaaaaaaaa...bbbbbbbbbbbbb'
    """
    half = (LONGEST_NAME - 3) // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half + 1]}...{name[-half:]}"


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
