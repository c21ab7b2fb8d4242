"""The per-image tables of a run, with the images and groups they belong to: what paired comparisons are made of."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataFacts, PoolSettings, load_settings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.runs.folder import check_files, read_status
from ensemble.runs.store.manifest import read_manifest


@dataclass(frozen=True, eq=False)
class Images:
    """What a run got on each of its images.

    Attributes:
        classes: names of the scored classes.
        ids: the images.
        groups: group of each image.
        tables: arrays with a row per image: ``confusions`` (n, k, k), ``log_loss`` (n,) and whatever else it wrote.
    """

    classes: tuple[str, ...]
    ids: Sequence[str]
    groups: Sequence[str]
    tables: Mapping[str, NDArray[Any]]

    def of(self, ids: Sequence[str]) -> Images:
        """The same images in the order of ``ids``.

        Raises:
            EnsError: they are not the same images.
        """
        place = {name: row for row, name in enumerate(self.ids)}
        if len(ids) != len(place) or any(name not in place for name in ids):
            raise EnsError(f"expected the same {len(ids)} images, got {len(place)} or others; train it again")
        rows = [place[name] for name in ids]
        groups = [self.groups[row] for row in rows]
        return Images(self.classes, ids, groups, {key: table[rows] for key, table in self.tables.items()})


def read_images(path: Path) -> Images:
    """Read the per-image tables of a finished member or ensemble.

    Raises:
        EnsError: a damaged directory, or one whose images nobody knows any more: an ensemble without its members, or
            a member without its stored probabilities.
    """
    status = read_status(path)
    check_files(path, status.get("files", {}), ("config.json", "confusions.npz"), "make it again")
    config, member = read_json(path / "config.json"), path
    if status.get("kind") == "ensemble":
        names = load_settings(PoolSettings, config.get("settings"), path / "config.json").members
        places = [path.parent.parent / "members" / name for name in names]
        member = next((place for place in places if (place / "probabilities" / "validation").is_dir()), places[0])
        classes = tuple(map(str, config.get("classes", ())))
    else:
        classes = load_settings(DataFacts, config.get("data"), path / "config.json").classes
    manifest = read_manifest(member / "probabilities" / "validation")
    try:
        with np.load(path / "confusions.npz", allow_pickle=False) as archive:
            tables = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise EnsError(f"{path / 'confusions.npz'} cannot be read ({error}); make the directory again") from None
    rows = {len(table) for table in tables.values()}
    if rows != {manifest.n} or tables["confusions"].shape[1:] != (len(classes), len(classes)):
        raise EnsError(
            f"expected tables of {manifest.n} images in {path / 'confusions.npz'}, got others; make it again"
        )
    return Images(classes, manifest.ids, manifest.groups, tables)
