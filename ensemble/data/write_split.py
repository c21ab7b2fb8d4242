"""Write the split of a data set as a table, for other tools and for ``--split``."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.core.progress import Progress, no_progress
from ensemble.data.dataset import open_dataset
from ensemble.data.formats.tables import TRAIN, VAL
from ensemble.data.groups import image_groups
from ensemble.data.split import split_dataset


def write_split(settings: DataSettings, out: str | Path, progress: Progress = no_progress) -> dict[str, int]:
    """Write a row per labelled image with the columns id, fold (from 1) or part (train, val), and group.

    Args:
        settings: the data and how they are split; an official split is written as it is.
        out: a file that ends in .csv.
        progress: callback that receives the progress.

    Returns:
        The number of images of each part or fold.

    Raises:
        EnsError: the data cannot be read or split, or ``out`` cannot be written.
    """
    place = Path(out)
    if place.suffix.lower() != ".csv":
        raise EnsError(f"expected a file name that ends in .csv as out, got {place}; give for example folds.csv")
    dataset = open_dataset(settings)
    groups = image_groups(dataset, progress)
    split = split_dataset(dataset, groups, settings)
    folds = len(split.validation)
    names = dict.fromkeys(range(len(dataset.ids)), TRAIN)
    for fold, rows in enumerate(split.validation):
        names |= dict.fromkeys(rows.tolist(), str(fold + 1) if folds > 1 else VAL)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["id", "fold" if folds > 1 else "part", "group"])
    writer.writerows([name, names[row], groups[row]] for row, name in enumerate(dataset.ids))
    write_bytes(place, stream.getvalue().encode())
    return {name: sum(each == name for each in names.values()) for name in sorted(set(names.values()))}
