"""A picture of examples: image, truth, members and ensemble side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.crossfit import CrossFit, apply_by_fold
from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import atomic
from ensemble.core.palette import class_colours
from ensemble.data import VOID, Dataset, open_dataset
from ensemble.report.grid import picture_grid
from ensemble.report.pick_images import rank_images
from ensemble.report.short_names import short_names
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.layout import EXAMPLES

MEMBERS_SHOWN = 3


def choose_examples(fitted: CrossFit, count: int = 4) -> list[int]:
    """Images to show: the first of each reason of ``rank_images`` that is not shown already."""
    labelled = fitted.crossfit.confusions_nkk.sum((1, 2))
    accuracy_mn = np.trace(fitted.members_mnkk, axis1=2, axis2=3) / np.maximum(1, labelled)
    ranked = {why: order.tolist() for why, order in rank_images(fitted.crossfit.confusions_nkk, accuracy_mn).items()}
    chosen: list[int] = []
    for order in list(ranked.values())[:count]:
        candidates = (*order, *ranked["typical"], *range(len(labelled)))
        chosen.append(next(row for row in candidates if row not in chosen))
    return chosen


def draw_examples(ensemble: Ensemble, aligned: Aligned, fitted: CrossFit) -> Path | None:
    """Write ``examples.png`` beside the ensemble, or return None where the data cannot be opened any more."""
    members = ensemble.members()
    dataset = _reopen(members[0].settings.data, members[0].facts.data_hash)
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
    path = ensemble.path / EXAMPLES
    with atomic(path) as stream:
        figure.savefig(stream, format="png", dpi=110)
    return path


def _reopen(settings: DataSettings, data_hash: str) -> Dataset | None:
    try:
        dataset = open_dataset(settings)
    except EnsError:
        return None
    return dataset if dataset.data_hash == data_hash else None


def _probabilities(aligned: Aligned, rows: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
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
    """Figure with the image and class maps in columns; void is black, and predictions are dimmed under void.

    Args:
        images_nhwc: images, uint8 or floats in 0..1.
        columns: class maps (n, h, w) by title, ``truth`` (with void 255) first.
        classes: names of the classes, for the legend.
        row_names: one name per image.
    """
    colours, void = class_colours(range(len(classes))), columns["truth"] == VOID
    grey = images_nhwc[..., :3] if images_nhwc.shape[-1] >= 3 else images_nhwc[..., 0]
    pictures: list[tuple[str, NDArray[Any]]] = [("image", grey)]
    for title, maps in columns.items():
        picture = colours[maps.astype(np.uint8)]
        pictures.append((title, picture if title == "truth" else np.where(void[..., None], picture // 3, picture)))
    return picture_grid(pictures, classes, row_names, void="void (predictions there are dimmed)")
