"""Write the split of a data set as a table, for other tools and for ``--split``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.core.formatting import counted
from ensemble.core.progress import Progress, no_progress
from ensemble.data.dataset import Dataset
from ensemble.data.formats.tables import TRAIN, VAL, VAULT
from ensemble.data.groups import image_groups, image_sites
from ensemble.data.opening import open_dataset
from ensemble.data.split import choose_vault, given_split, split_data, split_dataset


def write_split(
    settings: DataSettings,
    out: str | Path,
    progress: Progress = no_progress,
    *,
    vault: float | None = None,
    site: str | None = None,
) -> dict[str, int]:
    """Write a row per labelled image with the columns id, fold (from 1) or part (train, val), and group.

    Args:
        settings: the data and how they are split; an official split is written as it is.
        out: a file that ends in .csv.
        progress: callback that receives the progress.
        vault: share of the groups to set aside; their images get the part or fold ``vault``. The other images are split
            as if they were all, or keep their official part.
        site: regular expression with the site in brackets, see `image_sites`; no site is divided then.

    Returns:
        The number of images of each part or fold.

    Raises:
        EnsError: the data cannot be read or split, they have a vault already, ``site`` fits no name, or ``out`` cannot
            be written.
    """
    place = Path(out)
    if place.suffix.lower() != ".csv":
        raise EnsError(f"expected a file name that ends in .csv as out, got {place}; give for example folds.csv")
    dataset = open_dataset(settings, progress)
    groups = image_groups(dataset, progress) if site is None else image_sites(dataset, site, progress)
    parts = given_split(dataset, settings)
    if site is not None and parts is not None:
        raise EnsError(f"{dataset.name} comes with a split, which is written as it is; leave out site")
    aside = np.zeros(0, np.int64)
    if vault is not None:
        if VAULT in (parts or ()):
            raise EnsError(f"{dataset.name} comes with a vault; leave out the new one, so that it stays closed")
        aside = choose_vault(groups, dataset.foreground_nk, vault, settings.split_seed)
    rows = np.setdiff1d(np.arange(len(dataset.ids)), aside)
    names = _names(dataset, groups, settings, rows) | dict.fromkeys(aside.tolist(), VAULT)
    column = "part" if VAL in names.values() else "fold"
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["id", column, "group"])
    writer.writerows([name, names[row], groups[row]] for row, name in enumerate(dataset.ids))
    write_bytes(place, stream.getvalue().encode())
    return {name: sum(each == name for each in names.values()) for name in sorted(set(names.values()))}


def _names(dataset: Dataset, groups: Sequence[str], settings: DataSettings, rows: NDArray[np.int64]) -> dict[int, str]:
    """Return the part or fold of the images in ``rows``: as given, or split anew."""
    if given_split(dataset, settings) is None:
        some = [int(row) for row in rows]
        ids, owners = [dataset.ids[row] for row in some], [groups[row] for row in some]
        if len(rows) < len(groups) and len(set(owners)) < 2:
            left = f"the vault leaves {counted(len(set(owners)), 'group')} of {len(set(groups))}"
            raise EnsError(f"{left}, but training and validation need 2; choose a smaller share for it")
        split = split_data(ids, owners, dataset.foreground_nk[rows], settings)
        validation, given = [rows[part].tolist() for part in split.validation], []
    else:
        whole = split_dataset(dataset, groups, settings)
        validation, given = [np.intersect1d(part, rows).tolist() for part in whole.validation], whole.vault.tolist()
    names = dict.fromkeys(rows.tolist(), TRAIN)
    for fold, part in enumerate(validation):
        if not part:
            raise EnsError("the vault would hold all validation images; choose a smaller share for it")
        names |= dict.fromkeys(part, str(fold + 1) if len(validation) > 1 else VAL)
    return names | dict.fromkeys(given, VAULT)
