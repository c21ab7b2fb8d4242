"""Check a data set for suspect images and masks, and write them as a table and as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from ensemble.combining.alignment import align
from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.core.progress import Progress, no_progress
from ensemble.data import Dataset, open_dataset
from ensemble.data.cleaning.checks import Suspect, find_suspects
from ensemble.data.cleaning.label_errors import contradicted_masks
from ensemble.report.figures.suspects import draw_suspects
from ensemble.results.export import csv_text
from ensemble.runs.member import Member
from ensemble.runs.select import newest_members, open_members

COLUMNS = {"row": "int64", "id": "string", "reason": "string", "score": "float64", "detail": "string"}
"""Columns of ``suspects.csv`` and their types."""


@dataclass(frozen=True)
class DataCheck:
    """Result of ``check_data``.

    Attributes:
        dataset: the data that were checked.
        suspects: a suspect per image and reason.
        members: the members whose predictions were compared with the masks.
        table: path of ``suspects.csv``.
        picture: path of ``suspects.png``.
    """

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
    """Find images that should not be trained on, and write ``suspects.csv`` and ``suspects.png`` into ``out``.

    Args:
        data: settings, an npz file, a folder, or ``sample``.
        out: folder for the table and the contact sheet.
        members: members whose predictions are compared with the masks (default: all in ``runs`` that were trained on
            these data).
        runs: folder for runs.
        progress: callback that receives the progress.

    Raises:
        EnsError: the data cannot be read, a member was trained on other data, or the folder cannot be written.
    """
    settings = data if isinstance(data, DataSettings) else DataSettings(source=str(data))
    dataset = open_dataset(settings, progress)
    compared = open_members(Path(runs), members) if members else newest_members(Path(runs), dataset.data_hash)
    suspects = find_suspects(dataset, progress)
    if compared:
        suspects += contradicted_by_members(dataset, compared, progress)
    check = DataCheck(dataset, suspects, compared, Path(out) / "suspects.csv", Path(out) / "suspects.png")
    write_suspects(suspects, check.table)
    draw_suspects(dataset, suspects, check.picture)
    return check


def contradicted_by_members(
    dataset: Dataset, members: Sequence[Member], progress: Progress = no_progress
) -> list[Suspect]:
    """Return the masks that all members contradict.

    Raises:
        EnsError: a member was trained on other data.
    """
    aligned = align(members)
    for member in members:
        if member.facts.data_hash != dataset.data_hash:
            raise EnsError(
                f"{member.name} was trained on other data than {dataset.name}; choose members that were trained on"
                " these data"
            )
    return contradicted_masks(aligned, dataset.ids, progress)


def suspects_frame(suspects: Sequence[Suspect]) -> pd.DataFrame:
    """Return a table with a row per suspect, in the order given."""
    frame = pd.DataFrame([asdict(suspect) for suspect in suspects], columns=list(COLUMNS))
    return frame.astype(COLUMNS)


def write_suspects(suspects: Sequence[Suspect], path: Path) -> None:
    """Write the table as CSV, whole or not at all.

    Raises:
        EnsError: the file cannot be written.
    """
    text = csv_text(suspects_frame(suspects), float_format="%.6g")
    write_bytes(path, text.encode())
