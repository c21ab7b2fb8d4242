"""The figure of an explanation that shows where the ensemble is unsure."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.core.palette import class_colours
from ensemble.data import VOID
from ensemble.explanation.result import Explanation, UncertainImage
from ensemble.report.figures.picture_grid import displayable, picture_grid
from ensemble.report.same_data import open_same_data


def uncertainty_figure(explanation: Explanation) -> Figure:
    """Draw the most disputed images: image (if the data can be opened), truth, decisions, errors, two uncertainties."""
    shown, colours = explanation.images, class_colours(range(len(explanation.classes)))
    largest_entropy = float(np.log(len(explanation.classes)))
    largest_information = float(np.nanpercentile(np.concatenate([one.information_hw.ravel() for one in shown]), 99.5))
    columns: list[tuple[str, list[NDArray[Any]]]] = [
        ("truth", [colours[one.labels_hw] for one in shown]),
        (f"ensemble ({explanation.method})", [_known(colours[one.decided_hw], one) for one in shown]),
        ("errors (white)", [_errors(one) for one in shown]),
        (f"entropy, 0 to {largest_entropy:.2f} nats", [_heat(one.entropy_hw, largest_entropy) for one in shown]),
        (
            f"mutual information, 0 to {largest_information:.2f}",
            [_heat(one.information_hw, largest_information) for one in shown],
        ),
    ]
    dataset, _ = open_same_data(explanation.data, explanation.data_hash)
    if dataset is not None:
        columns.insert(0, ("image", [displayable(dataset.image(dataset.ids.index(one.id))) for one in shown]))
    title = "Where is the ensemble unsure? The images that its members dispute most (yellow: unsure)"
    return picture_grid(columns, explanation.classes, [f"image {one.id}"[-22:] for one in shown], title=title)


def _known(picture_hwc: NDArray[np.uint8], image: UncertainImage) -> NDArray[np.uint8]:
    """Return a picture that is black where the image has no label."""
    return np.where((image.labels_hw == VOID)[..., None], np.uint8(0), picture_hwc)


def _errors(image: UncertainImage) -> NDArray[np.uint8]:
    """Return RGB of the errors: white, right pixels dark."""
    wrong = np.where(image.labels_hw == image.decided_hw, 70, 255).astype(np.uint8)
    return _known(np.repeat(wrong[..., None], 3, axis=-1), image)


def _heat(values_hw: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    """Return RGB of a colour-blind-safe scale, black where the value is NaN."""
    known = ~np.isnan(values_hw)
    share = np.clip(np.where(known, values_hw, 0) / max(top, 1e-9), 0, 1)
    return np.where(known[..., None], colormaps["cividis"](share, bytes=True)[..., :3], 0).astype(np.uint8)
