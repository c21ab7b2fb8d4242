"""Choose the images to label next, and write them as a table and as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ensemble.combining.alignment import Aligned, align
from ensemble.combining.label_next import information_per_image, rank_next
from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.core.progress import Progress, no_progress
from ensemble.data import Dataset, open_dataset
from ensemble.data.groups import copies_of_tests, groups_of_tests
from ensemble.report.figures.next_images import draw_next
from ensemble.results.export import csv_text
from ensemble.runs.select import newest_members, open_members


@dataclass(frozen=True)
class LabelNext:
    """Result of ``label_next``.

    Attributes:
        dataset: the data.
        chosen: a row per chosen image, the best first: ``rank``, ``id``, ``information`` (nats) and ``group``.
        members: names of the members whose disagreement counts.
        table: path of ``next.csv``.
        picture: path of ``next.png``.
    """

    dataset: Dataset
    chosen: pd.DataFrame
    members: tuple[str, ...]
    table: Path
    picture: Path


def label_next(
    data: DataSettings | str | Path,
    members: Sequence[str | Path] = (),
    *,
    count: int = 20,
    out: str | Path = ".",
    runs: str | Path = "runs",
    progress: Progress = no_progress,
) -> LabelNext:
    """Choose test images by the disagreement of members, and write ``next.csv`` and ``next.png`` into ``out``.

    The probabilities are those that the members stored of the test images; see `rank_next` for the order.

    Args:
        data: settings, an npz file or a folder with test images.
        members: two or more members that were trained on these data (default: all in ``runs``).
        count: number of images to choose.
        out: folder for the table and the contact sheet.
        runs: folder for runs.
        progress: callback that receives the progress.

    Raises:
        EnsError: the data have no test images, fewer than two members know them, or the folder cannot be written.
    """
    settings = data if isinstance(data, DataSettings) else DataSettings(source=str(data))
    dataset = open_dataset(settings, progress)
    if not dataset.test_ids:
        raise EnsError(
            f"expected test images in {dataset.name}, of which the next ones to label are chosen, got none; put images"
            " without masks into its folder test/ (in an npz, test_set) and train the members again"
        )
    aligned = _aligned(dataset, members, Path(runs))
    information_n = information_per_image(aligned, progress)
    groups, copies = groups_of_tests(dataset, progress), copies_of_tests(dataset, progress)
    rows = rank_next(information_n, groups, copies, count)
    chosen = pd.DataFrame(
        {
            "rank": range(1, len(rows) + 1),
            "id": [aligned.ids[row] for row in rows],
            "information": information_n[rows],
            "group": [groups[row] for row in rows],
        }
    )
    found = LabelNext(dataset, chosen, aligned.names, Path(out) / "next.csv", Path(out) / "next.png")
    write_bytes(found.table, csv_text(chosen).encode())
    draw_next(dataset, aligned, rows, information_n[rows].tolist(), found.picture)
    return found


def _aligned(dataset: Dataset, names: Sequence[str | Path], runs: Path) -> Aligned:
    """Return the stored test probabilities of the members, which must be those of these test images."""
    members = open_members(runs, names) if names else newest_members(runs, dataset.data_hash)
    if len(members) < 2:
        raise EnsError(
            f"expected at least two members, because images are ranked by their disagreement, got {len(members)} of"
            f" {dataset.name} in {runs}; train another with `ens train`"
        )
    for member in members:
        if member.facts.data_hash != dataset.data_hash:
            raise EnsError(f"{member.name} was trained on other data than {dataset.name}; give the data that it knows")
        if not member.has_store("test"):
            raise EnsError(f"{member.name} holds no predictions of test images; train it again on {dataset.name}")
    aligned = align(members, "test")
    if tuple(aligned.ids) != dataset.test_ids:
        raise EnsError(f"{members[0].name} predicted other test images than those of {dataset.name}; train it again")
    return aligned
