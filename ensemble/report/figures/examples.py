"""The figure of examples: image, truth, members and ensemble side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.by_fold import apply_by_fold
from ensemble.combining.crossfit import CrossFit
from ensemble.core.palette import class_colours
from ensemble.data import VOID
from ensemble.evaluation.strips import PredictedBatch, shown_maps
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
    images = [displayable(dataset.image(dataset.ids.index(aligned.ids[row]))) for row in rows]
    titles = short_names([aligned.names[m] for m in shown])
    names = ["truth", *titles, f"{ensemble.settings.method} of {len(members)}"]
    columns = dict(zip(names, zip(*_maps(aligned, fitted, rows, shown), strict=True), strict=True))
    figure = examples_figure(images, columns, aligned.classes, [f"image {aligned.ids[row]}" for row in rows])
    return save_png(figure, ensemble.path / EXAMPLES)


def _maps(
    aligned: Aligned, fitted: CrossFit, rows: Sequence[int], shown: Sequence[int]
) -> list[tuple[NDArray[Any], ...]]:
    """Return the labels of each image, the class maps of some members, and the decisions of its fold's pool."""

    def of(batch: PredictedBatch) -> tuple[NDArray[Any], ...]:
        _, decided = apply_by_fold(fitted.fold_pools, fitted.fold_n[batch.rows], batch.probs_mnchw)
        maps = (batch.probs_mnchw[m, 0].argmax(0).astype(np.uint8) for m in shown)
        return batch.labels_nhw[0], *map(batch.cut, (*maps, decided[0].astype(np.uint8)))

    return list(shown_maps(aligned.images(rows, max(pool.reach for pool in fitted.fold_pools)), of))


def examples_figure(
    images: Sequence[NDArray[np.generic]],
    columns: Mapping[str, Sequence[NDArray[Any]]],
    classes: Sequence[str],
    row_names: Sequence[str],
) -> Figure:
    """Draw images and class maps in columns; void is black, and predictions are dimmed where the truth is void.

    Args:
        images: RGB (h, w, 3) or grey (h, w), uint8 or floats in 0..1.
        columns: a class map (h, w) of each image by title, ``truth`` (with void 255) first.
        classes: names of the classes, for the legend.
        row_names: one name per image.
    """
    colours, void = class_colours(range(len(classes))), [truth == VOID for truth in columns["truth"]]
    pictures: list[tuple[str, Sequence[NDArray[Any]]]] = [("image", images)]
    for title, maps in columns.items():
        colourful = [colours[one.astype(np.uint8)] for one in maps]
        dimmed = [np.where(each[..., None], one // 3, one) for each, one in zip(void, colourful, strict=True)]
        pictures.append((title, colourful if title == "truth" else dimmed))
    return picture_grid(pictures, classes, row_names, void="void (predictions there are dimmed)")
