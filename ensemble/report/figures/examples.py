"""The figure of examples: image, truth, members and ensemble side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.crossfit import CrossFit, apply_by_fold
from ensemble.core.palette import class_colours
from ensemble.data import VOID
from ensemble.report.figures.drawing import save_png
from ensemble.report.figures.picture_grid import displayable, picture_grid
from ensemble.report.pick_images import rank_images
from ensemble.report.same_data import open_same_data
from ensemble.report.short_names import short_names
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.layout import EXAMPLES

MEMBERS_SHOWN = 3  # members with a column, those with the largest weights


def choose_examples(fitted: CrossFit, count: int = 4) -> list[int]:
    """Return the rows of images to show: for each reason of ``rank_images`` the first image that is not yet shown."""
    labelled = fitted.crossfit.confusions_nkk.sum((1, 2))
    accuracy_mn = np.trace(fitted.members_mnkk, axis1=2, axis2=3) / np.maximum(1, labelled)
    ranked = {why: order.tolist() for why, order in rank_images(fitted.crossfit.confusions_nkk, accuracy_mn).items()}
    rows: list[int] = []
    for order in list(ranked.values())[:count]:
        candidates = (*order, *ranked["typical"], *range(len(labelled)))
        rows.append(next(row for row in candidates if row not in rows))
    return rows


def draw_examples(ensemble: Ensemble, aligned: Aligned, fitted: CrossFit) -> Path | None:
    """Write ``examples.png`` into the ensemble's directory and return its path.

    Return None without writing anything if the data have changed or cannot be opened any more.
    """
    members = ensemble.members()
    dataset, _ = open_same_data(members[0].settings.data, members[0].facts.data_hash)
    if dataset is None:
        return None
    rows = sorted(choose_examples(fitted, min(4, len(aligned.ids))))
    shown = np.argsort(-fitted.pool.weights_m, kind="stable")[:MEMBERS_SHOWN].tolist()
    images = dataset.images([dataset.ids.index(aligned.ids[row]) for row in rows])
    probs_mnchw, labels = _probabilities(aligned, rows)
    _, decided = apply_by_fold(fitted.fold_pools, fitted.fold_n[rows], probs_mnchw)
    titles = short_names([aligned.names[m] for m in shown])
    columns: dict[str, NDArray[Any]] = {
        "truth": labels,
        **{title: probs_mnchw[m].argmax(1) for m, title in zip(shown, titles, strict=True)},
        f"{ensemble.settings.method} of {len(members)}": decided,
    }
    figure = examples_figure(images, columns, aligned.classes, [f"image {aligned.ids[row]}" for row in rows])
    return save_png(figure, ensemble.path / EXAMPLES)


def _probabilities(aligned: Aligned, rows: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Read probabilities (m, n, c, h, w) and labels (n, h, w) of some images."""
    probs: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.uint8]] = []
    for place, batch, truth in aligned.batches():
        inside = [row - place.start for row in rows if place.start <= row < place.stop]
        probs.append(batch[:, inside])
        labels.append(truth[inside])
    return np.concatenate(probs, axis=1), np.concatenate(labels)


def examples_figure(
    images_nhwc: NDArray[np.generic],
    columns: Mapping[str, NDArray[Any]],
    classes: Sequence[str],
    row_names: Sequence[str],
) -> Figure:
    """Draw images and class maps in columns; void is black, and predictions are dimmed where the truth is void.

    Args:
        images_nhwc: images, uint8 or floats in 0..1.
        columns: class maps (n, h, w) by title, ``truth`` (with void 255) first.
        classes: names of the classes, for the legend.
        row_names: one name per image.
    """
    colours, void = class_colours(range(len(classes))), columns["truth"] == VOID
    pictures: list[tuple[str, NDArray[Any]]] = [("image", displayable(images_nhwc))]
    for title, maps in columns.items():
        picture = colours[maps.astype(np.uint8)]
        pictures.append((title, picture if title == "truth" else np.where(void[..., None], picture // 3, picture)))
    return picture_grid(pictures, classes, row_names, void="void (predictions there are dimmed)")
