"""Suspects as a table, as ``suspects.csv`` and as a contact sheet of image and mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ensemble.combining.alignment import align
from ensemble.config import DataSettings, data_settings
from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, write_bytes
from ensemble.core.palette import class_colours
from ensemble.core.progress import Progress, no_progress
from ensemble.data import Dataset, open_dataset
from ensemble.data.cleaning.checks import REASONS, Suspect
from ensemble.data.cleaning.checks import check_data as find_suspects
from ensemble.data.cleaning.label_errors import contradicted_masks
from ensemble.report.pictures import shrink, stretched
from ensemble.runs.member import Member
from ensemble.runs.select import newest_members, open_members

COLUMNS = {"row": "int64", "id": "string", "reason": "string", "score": "float64", "detail": "string"}
"""Columns of the table and their types."""

WIDTH = 12.0  # of the sheet, inches
GAP = 4  # between image and mask, pixels


def suspects_frame(suspects: Sequence[Suspect]) -> pd.DataFrame:
    """A row per suspect and reason, in the order given."""
    frame = pd.DataFrame([asdict(suspect) for suspect in suspects], columns=list(COLUMNS))
    return frame.astype(COLUMNS)


def write_suspects(suspects: Sequence[Suspect], path: Path) -> None:
    """Write the table as CSV, whole or not at all.

    Raises:
        EnsError: the place cannot be written.
    """
    text = suspects_frame(suspects).to_csv(index=False, lineterminator="\n", float_format="%.6g")
    write_bytes(path, text.encode())


def draw_suspects(dataset: Dataset, suspects: Sequence[Suspect], path: Path, worst: int = 12) -> None:
    """Write a contact sheet (PNG): for every reason its worst suspects, image beside mask, with row and score.

    Args:
        dataset: the data that were checked.
        suspects: from ``check_data`` and ``contradicted_masks``.
        path: of the PNG.
        worst: most suspects shown of one reason.

    Raises:
        EnsError: the place cannot be written.
    """
    figure = suspects_figure(dataset, suspects, worst)
    with atomic(path) as stream:
        figure.savefig(stream, format="png", dpi=110)


def suspects_figure(dataset: Dataset, suspects: Sequence[Suspect], worst: int = 12) -> Figure:
    """The contact sheet as a figure; one sentence where nothing is suspect."""
    by_reason = {reason: [one for one in suspects if one.reason == reason] for reason in REASONS}
    by_reason = {reason: sorted(found, key=lambda one: -one.score) for reason, found in by_reason.items() if found}
    _, height, width = dataset.shape
    columns = min(worst, 6 if width <= 1.5 * height else 4)
    cell = WIDTH / columns * height / (2 * width) + 0.35  # a pair of pictures and its two lines of text, inches
    lines = [-(-min(worst, len(found)) // columns) for found in by_reason.values()]
    figure = Figure(figsize=(WIDTH, sum(lines) * cell + 0.4 * len(lines) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    if not by_reason:
        figure.suptitle(f"{dataset.name}: none of {len(dataset.ids)} images is suspect", fontsize=10)
        return figure
    parts = figure.subfigures(len(lines), 1, squeeze=False, height_ratios=[n * cell + 0.4 for n in lines])
    colours = class_colours(range(len(dataset.classes)))
    for part, count, (reason, found) in zip(parts[:, 0], lines, by_reason.items(), strict=True):
        shown = f", the worst {worst}" if len(found) > worst else ""
        part.suptitle(f"{reason}: {len(found)}{shown} ({REASONS[reason]})", fontsize=9, x=0.005, ha="left")
        axes = part.subplots(count, columns, squeeze=False).ravel()
        for axis in axes:
            axis.axis("off")
        for axis, suspect in zip(axes, found[:worst], strict=False):
            _draw_pair(axis, dataset, suspect, colours)
    handles = [Patch(color=colours[k] / 255, label=name) for k, name in enumerate(dataset.classes)]
    handles.append(Patch(color="black", label="void"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(8, len(handles)), fontsize=7, frameon=False)
    return figure


def _draw_pair(axis: Any, dataset: Dataset, suspect: Suspect, colours: NDArray[np.uint8]) -> None:
    image, labels = dataset.images([suspect.row])[0], dataset.labels([suspect.row])[0]
    picture, mask = stretched(image), colours[shrink(labels, cv2.INTER_NEAREST)]
    between = np.full((len(picture), GAP, 3), 255, np.uint8)
    axis.imshow(np.concatenate([picture, between, mask], axis=1), interpolation="nearest")
    name = f"row {suspect.row}" if suspect.id == str(suspect.row) else f"row {suspect.row} ({suspect.id})"
    axis.set_title(f"{name}  score {suspect.score:.3g}\n{suspect.detail:.70}", fontsize=6, loc="left", pad=2)


@dataclass(frozen=True)
class DataCheck:
    """What ``check_data`` found, where it is written, and the members that masks were held against."""

    dataset: Dataset
    suspects: list[Suspect]
    members: list[Member]
    table: Path
    picture: Path


def check_data(
    data: DataSettings | str | Path = "sample",
    *,
    out: str | Path = ".",
    members: Sequence[str | Path] | None = None,
    runs: str | Path = "runs",
    progress: Progress = no_progress,
) -> DataCheck:
    """Look for images that should not be trained on, and write ``suspects.csv`` and ``suspects.png`` into ``out``.

    Args:
        data: settings, an npz file, a folder, or ``sample``.
        out: folder for the list and the contact sheet.
        members: members whose predictions the masks are held against; all of these data in ``runs`` where None.
        runs: folder for runs.
        progress: callback that receives the progress.

    Raises:
        EnsError: data that cannot be read, members of other data, or an unwritable folder.
    """

    dataset = open_dataset(data if isinstance(data, DataSettings) else data_settings(data))
    chosen = open_members(Path(runs), members) if members else newest_members(Path(runs), dataset.data_hash)
    suspects = find_suspects(dataset, progress)
    if chosen:
        suspects += contradicted_by_members(dataset, chosen, progress)
    done = DataCheck(dataset, suspects, chosen, Path(out) / "suspects.csv", Path(out) / "suspects.png")
    write_suspects(suspects, done.table)
    draw_suspects(dataset, suspects, done.picture)
    return done


def contradicted_by_members(
    dataset: Dataset, members: Sequence[Member], progress: Progress = no_progress
) -> list[Suspect]:
    """Return the masks that all members contradict, after checking that they were trained on these data."""
    aligned = align(members)
    for member in members:
        if member.facts.data_hash != dataset.data_hash:
            raise EnsError(
                f"{member.name} was trained on other data than {dataset.name}; give members of these data, and the"
                " image size they were trained at"
            )
    return contradicted_masks(aligned, dataset.ids, progress)
