"""A contact sheet of an augmentation: originals and augmented images, each with its mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.palette import class_colours
from ensemble.core.units import size_name
from ensemble.data import Dataset
from ensemble.data.windows import WHOLE_PIXELS, Pairs, TrainingImages
from ensemble.report.figures.drawing import save_png
from ensemble.report.figures.picture_grid import picture_grid

DRAWS = 2  # augmented pairs per original
SIDE = 256  # longest side of a window in pixels


def draw_preview(
    dataset: Dataset,
    augmentation: str | dict[str, Any],
    path: Path,
    *,
    rows: NDArray[np.int64] | None = None,
    count: int = 6,
    seed: int = 0,
) -> list[int]:
    """Write a contact sheet as PNG: per image the original and two augmented pairs of image and mask.

    The images are one batch, which is augmented twice; of large ones, or those of several sizes, windows are shown, and
    the title says so. If there are enough images, every class that has labels is shown, the rarest first.

    Args:
        dataset: images and labels.
        augmentation: result of ``resolve_augmentation``.
        path: path of the PNG.
        rows: rows that images are taken from (default: all).
        count: number of images to show.
        seed: seed of the choice of images and of their augmentation.

    Returns:
        The rows shown, from top to bottom.

    Raises:
        EnsError: the file cannot be written, or the augmentation does not fit the images.
    """
    from ensemble.data.augmentation.expression import build_augmentation, describe_augmentation  # noqa: PLC0415  (takes a second)

    rows = np.arange(len(dataset.ids)) if rows is None else rows
    choice, *draws = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(1 + DRAWS))
    shown = rows[choose_rows(dataset.counts_nk[rows], count, choice)].tolist()
    window = shown_window(dataset.sizes)
    training = TrainingImages(dataset, rows, window)
    augment = build_augmentation(augmentation, training)
    original = training.pairs(shown, [True] * len(shown), choice)
    pairs = {"original": original, **{f"augmented {i + 1}": augment(*original, draw) for i, draw in enumerate(draws)}}
    names = [f"image {dataset.ids[row]}" for row in shown]
    columns = sheet_columns(pairs, len(dataset.classes))
    title = describe_augmentation(augmentation) + (f", windows of {size_name(window)}" if window else "")
    figure = picture_grid(columns, dataset.classes, names, title=title)
    save_png(figure, path)
    return shown


def shown_window(sizes: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Return height and width of the windows to show, or None for whole images.

    Images of one size are whole if they are small. Otherwise a window is as large as the median image, and at most
    256 pixels high and wide, so that most images fill it.

    >>> shown_window([(60, 90), (70, 80), (400, 300)]), shown_window([(60, 90), (60, 90)])
    ((70, 90), None)
    """
    if len(set(sizes)) == 1 and sizes[0][0] * sizes[0][1] <= WHOLE_PIXELS:
        return None
    height, width = (min(SIDE, int(side)) for side in np.median(sizes, axis=0))
    return height, width


def choose_rows(counts_nk: NDArray[np.int64], count: int, generator: np.random.Generator) -> list[int]:
    """Return positions of images to show: for each class in turn, the rarest first, an image with much of it.

    The image is drawn from the half of the images with most pixels of the class. No image is drawn twice.

    Args:
        counts_nk: labelled pixels of every image and class.
        count: number of images to show.
        generator: source of the random numbers.
    """
    totals_k = counts_nk.sum(0)
    order = [k for k in np.argsort(totals_k, kind="stable") if totals_k[k]]
    positions: list[int] = []
    for turn in range(min(count, len(counts_nk))):
        free_n = np.ones(len(counts_nk), bool)
        free_n[positions] = False
        pixels_n = counts_nk[:, order[turn % len(order)]] if order else np.zeros(len(counts_nk), np.int64)
        holding = np.flatnonzero(free_n & (pixels_n > 0))
        upper = holding[pixels_n[holding] >= np.median(pixels_n[holding])] if len(holding) else np.flatnonzero(free_n)
        positions.append(int(generator.choice(upper)))
    return positions


def sheet_columns(pairs: Mapping[str, Pairs], classes: int) -> list[tuple[str, NDArray[np.uint8]]]:
    """Return, per title of ``pairs``, a column of images and a column of masks as RGB; void is black.

    All images share one scale, from 0 to the brightest pixels of the first pairs, so that changes of brightness are
    visible.
    """
    originals: NDArray[Any] = next(iter(pairs.values()))[0]
    top = max(float(np.percentile(originals, 99.8)), 1e-6)
    columns: list[tuple[str, NDArray[np.uint8]]] = []
    for title, (images_nhwc, labels_nhw) in pairs.items():
        rgb: NDArray[Any] = images_nhwc[..., [0, 1, 2] if images_nhwc.shape[-1] >= 3 else [0, 0, 0]]
        columns.append((title, (255 * np.clip(rgb / top, 0, 1)).astype(np.uint8)))
        columns.append(("its mask", class_colours(range(classes))[labels_nhw]))
    return columns
