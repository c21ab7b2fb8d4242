"""An explanation on disk: figures as PNG, tables as CSV, and maps of where the ensemble is unsure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, write_bytes
from ensemble.core.palette import class_colours
from ensemble.core.progress import Progress, no_progress
from ensemble.data import VOID, open_dataset
from ensemble.explanation.result import Explanation
from ensemble.report.explain_curves import reliability_figure, risk_figure
from ensemble.report.explain_members import contributions_figure, dropping_figure, pairs_figure
from ensemble.report.grid import picture_grid

FIGURES: dict[str, Callable[[Explanation], Figure]] = {
    "pairs": pairs_figure,
    "contributions": contributions_figure,
    "dropping": dropping_figure,
    "reliability": reliability_figure,
    "risk": risk_figure,
}
"""Figures by the name of their file; ``uncertainty`` comes on top."""


def write_explanation(explanation: Explanation, folder: Path, progress: Progress = no_progress) -> list[Path]:
    """Write every figure (PNG) and table (CSV) into ``folder`` and return the paths, figures first.

    Raises:
        EnsError: the place cannot be written.
    """
    figures = {**FIGURES, "uncertainty": uncertainty_figure}
    written: list[Path] = []
    for name, draw in figures.items():
        with atomic(folder / f"{name}.png") as stream:
            draw(explanation).savefig(stream, format="png", dpi=110)
        written.append(folder / f"{name}.png")
        progress("drawing", len(written), len(figures))
    for name, table in explanation.tables.items():
        text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
        write_bytes(folder / f"{name}.csv", text.encode())
        written.append(folder / f"{name}.csv")
    return written


def uncertainty_figure(explanation: Explanation) -> Figure:
    """Image (where the data can be opened), truth, decisions, errors and the two maps of the most disputed images."""
    shown = explanation.images
    labels, decided, entropies, informations = (
        np.stack([getattr(one, name) for one in shown])
        for name in ("labels_hw", "decided_hw", "entropy_hw", "information_hw")
    )
    void = labels == VOID
    colours = class_colours(range(len(explanation.classes)))
    wrong = np.where(void, 0, np.where(labels == decided, 70, 255)).astype(np.uint8)
    hottest = float(np.nanpercentile(informations, 99.5))
    most = float(np.log(len(explanation.classes)))
    columns: list[tuple[str, NDArray[Any]]] = [
        ("truth", colours[labels]),
        (f"ensemble ({explanation.method})", np.where(void[..., None], 0, colours[decided])),
        ("errors (white)", np.repeat(wrong[..., None], 3, axis=-1)),
        (f"entropy, 0 to {most:.2f} nats", _heat(entropies, most)),
        (f"mutual information, 0 to {hottest:.2f}", _heat(informations, hottest)),
    ]
    pictures = _pictures(explanation)
    if pictures is not None:
        columns.insert(0, ("image", pictures))
    title = "Where is the ensemble unsure? The images its members dispute most (yellow: unsure)"
    return picture_grid(columns, explanation.classes, [f"image {one.id}"[-22:] for one in shown], title=title)


def _heat(values_nhw: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    """RGB of a colour-blind-safe scale; black where there is no value."""
    known = ~np.isnan(values_nhw)
    share = np.clip(np.where(known, values_nhw, 0) / max(top, 1e-9), 0, 1)
    return np.where(known[..., None], colormaps["cividis"](share, bytes=True)[..., :3], 0).astype(np.uint8)


def _pictures(explanation: Explanation) -> NDArray[Any] | None:
    """The images themselves, or None where the data cannot be opened any more."""
    try:
        dataset = open_dataset(explanation.data)
    except EnsError:
        return None
    if dataset.data_hash != explanation.data_hash:
        return None
    images = dataset.images([dataset.ids.index(one.id) for one in explanation.images])
    return images[..., :3] if images.shape[-1] >= 3 else images[..., 0]
