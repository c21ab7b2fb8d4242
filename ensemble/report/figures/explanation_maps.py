"""The figure of an explanation that shows where the ensemble is unsure."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.core.palette import class_colours
from ensemble.data import VOID
from ensemble.explanation.result import Explanation
from ensemble.report.figures.picture_grid import displayable, picture_grid
from ensemble.report.same_data import open_same_data


def uncertainty_figure(explanation: Explanation) -> Figure:
    """Draw the most disputed images: image (if the data can be opened), truth, decisions, errors, two uncertainties."""
    shown = explanation.images
    labels, decided, entropies, informations = (
        np.stack([getattr(one, name) for one in shown])
        for name in ("labels_hw", "decided_hw", "entropy_hw", "information_hw")
    )
    void = labels == VOID
    colours = class_colours(range(len(explanation.classes)))
    wrong = np.where(void, 0, np.where(labels == decided, 70, 255)).astype(np.uint8)
    largest_entropy = float(np.log(len(explanation.classes)))
    largest_information = float(np.nanpercentile(informations, 99.5))
    columns: list[tuple[str, NDArray[Any]]] = [
        ("truth", colours[labels]),
        (f"ensemble ({explanation.method})", np.where(void[..., None], 0, colours[decided])),
        ("errors (white)", np.repeat(wrong[..., None], 3, axis=-1)),
        (f"entropy, 0 to {largest_entropy:.2f} nats", _heat(entropies, largest_entropy)),
        (f"mutual information, 0 to {largest_information:.2f}", _heat(informations, largest_information)),
    ]
    dataset, _ = open_same_data(explanation.data, explanation.data_hash)
    if dataset is not None:
        images = dataset.images([dataset.ids.index(one.id) for one in shown])
        columns.insert(0, ("image", displayable(images)))
    title = "Where is the ensemble unsure? The images that its members dispute most (yellow: unsure)"
    return picture_grid(columns, explanation.classes, [f"image {one.id}"[-22:] for one in shown], title=title)


def _heat(values_nhw: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    """Return RGB of a colour-blind-safe scale, black where the value is NaN."""
    known = ~np.isnan(values_nhw)
    share = np.clip(np.where(known, values_nhw, 0) / max(top, 1e-9), 0, 1)
    return np.where(known[..., None], colormaps["cividis"](share, bytes=True)[..., :3], 0).astype(np.uint8)
