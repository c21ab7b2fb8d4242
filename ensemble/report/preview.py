"""A contact sheet of an augmentation: originals beside augmented images, each with its mask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.files import atomic
from ensemble.core.palette import class_colours
from ensemble.data import Dataset
from ensemble.data.augmentation.mixing import Donors, Pairs
from ensemble.report.grid import picture_grid

DRAWS = 2  # augmented pairs beside each original


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

    The images shown are one batch, which is augmented twice; every class that has labels is shown where there are
    images enough, the rarest first.

    Args:
        dataset: images and labels.
        augmentation: what ``resolve_augmentation`` returns.
        path: the PNG to write.
        rows: rows that images are taken from, all by default.
        count: images to show.
        seed: seed of what is shown and how it is augmented.

    Returns:
        the rows shown, from top to bottom.

    Raises:
        EnsError: the file cannot be written, or the augmentation does not fit the images.
    """
    from ensemble.data.augmentation.expression import build_augmentation, describe_augmentation  # noqa: PLC0415  (takes a second)

    rows = np.arange(len(dataset.ids)) if rows is None else rows
    choice, *draws = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(1 + DRAWS))
    shown = rows[choose_rows(dataset.counts_nk[rows], count, choice)].tolist()
    augment = build_augmentation(augmentation, Donors(dataset, rows))
    original = dataset.images(shown), dataset.labels(shown)
    pairs = {"original": original, **{f"augmented {i + 1}": augment(*original, draw) for i, draw in enumerate(draws)}}
    names = [f"image {dataset.ids[row]}" for row in shown]
    columns = sheet_columns(pairs, len(dataset.classes))
    figure = picture_grid(columns, dataset.classes, names, title=describe_augmentation(augmentation))
    with atomic(path) as stream:
        figure.savefig(stream, format="png", dpi=110)
    return shown


def choose_rows(counts_nk: NDArray[np.int64], count: int, generator: np.random.Generator) -> list[int]:
    """Positions of images to show: for each class in turn, the rarest first, one with more of it than most.

    Of the images that hold the class, one of the half with more pixels of it is drawn; an image is drawn once.
    """
    totals_k = counts_nk.sum(0)
    order = [k for k in np.argsort(totals_k, kind="stable") if totals_k[k]]
    chosen: list[int] = []
    for turn in range(min(count, len(counts_nk))):
        free_n = np.ones(len(counts_nk), bool)
        free_n[chosen] = False
        pixels_n = counts_nk[:, order[turn % len(order)]] if order else np.zeros(len(counts_nk), np.int64)
        holding = np.flatnonzero(free_n & (pixels_n > 0))
        upper = holding[pixels_n[holding] >= np.median(pixels_n[holding])] if len(holding) else np.flatnonzero(free_n)
        chosen.append(int(generator.choice(upper)))
    return chosen


def sheet_columns(pairs: Mapping[str, Pairs], classes: int) -> list[tuple[str, NDArray[np.uint8]]]:
    """Per title of ``pairs`` a column of images and one of masks, as RGB; void is black.

    All images share one scale, from 0 to the brightest pixels of the first pairs, so that changes of brightness show.
    """
    originals: NDArray[Any] = next(iter(pairs.values()))[0]
    top = max(float(np.percentile(originals, 99.8)), 1e-6)
    columns: list[tuple[str, NDArray[np.uint8]]] = []
    for title, (images_nhwc, labels_nhw) in pairs.items():
        rgb: NDArray[Any] = images_nhwc[..., [0, 1, 2] if images_nhwc.shape[-1] >= 3 else [0, 0, 0]]
        columns.append((title, (255 * np.clip(rgb / top, 0, 1)).astype(np.uint8)))
        columns.append(("its mask", class_colours(range(classes))[labels_nhw]))
    return columns
