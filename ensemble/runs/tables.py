"""The per-image tables of a run, with its images, groups and classes: the basis of every paired comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataFacts, PoolSettings
from ensemble.core.arrays import read_npz
from ensemble.core.errors import EnsError
from ensemble.core.settings import load_settings
from ensemble.runs.evaluation_dir import read_evaluation
from ensemble.runs.layout import CONFIG, CONFUSIONS, is_run, manifest_name, sibling_member, store_folder
from ensemble.runs.status import check_files, check_recorded, read_config, read_status
from ensemble.runs.store.manifest import read_manifest


@dataclass(frozen=True, eq=False)
class ImageTables:
    """What a run got on each of its images.

    Attributes:
        classes: names of the scored classes, in the order of the tables' rows.
        values: the data set's own id of each class.
        ids: the images.
        groups: group of each image.
        tables: arrays with a row per image: ``confusions`` (n, k, k), ``log_loss`` (n,) and all others that the run
            wrote.
    """

    classes: tuple[str, ...]
    values: tuple[int, ...]
    ids: Sequence[str]
    groups: Sequence[str]
    tables: Mapping[str, NDArray[Any]]

    @property
    def confusions_nkk(self) -> NDArray[np.int64]:
        """Confusion matrix of every image, a row per true class."""
        return self.tables["confusions"]

    def of(self, ids: Sequence[str]) -> ImageTables:
        """Return the same images in the order of ``ids``.

        Raises:
            EnsError: these are not the same images.
        """
        row_of = {name: row for row, name in enumerate(self.ids)}
        if len(ids) != len(row_of) or any(name not in row_of for name in ids):
            raise EnsError(
                f"expected a run of the same {len(ids)} images, got one of {len(row_of)} images, or of others;"
                " compare runs of the same data and split"
            )
        rows = [row_of[name] for name in ids]
        groups = tuple(self.groups[row] for row in rows)
        tables = {name: table[rows] for name, table in self.tables.items()}
        return ImageTables(self.classes, self.values, tuple(ids), groups, tables)


def read_tables(path: Path) -> ImageTables:
    """Read the per-image tables of a finished member, ensemble or evaluation.

    A member keeps its image ids with its stored probabilities; an ensemble takes them from the first of its members
    that is there.

    Raises:
        EnsError: a damaged directory, an ensemble without its members, or a member without its stored probabilities.
    """
    status = read_status(path)
    if status.get("kind") == "evaluation":
        settings, ids, groups = read_evaluation(path)
        return ImageTables(
            settings.classes, settings.values, ids, groups, _arrays(path, len(ids), len(settings.classes))
        )
    config = read_config(path, status)
    check_files(path, status, (CONFUSIONS,))
    if status.get("kind") == "ensemble":
        member = _member_of(path, load_settings(PoolSettings, config.get("settings"), path / CONFIG).members)
        status = read_status(member)
        facts = _facts(member, read_config(member, status))
        classes = tuple(map(str, config.get("classes", ())))
    else:
        member, facts = path, _facts(path, config)
        classes = facts.classes
    if any(name not in facts.classes for name in classes):
        raise EnsError(f"{path / CONFIG} names classes that the member {member.name} does not score; make it again")
    check_recorded(member, status, manifest_name("validation"))
    manifest = read_manifest(store_folder(member, "validation"))
    values = tuple(facts.values[facts.classes.index(name)] for name in classes)
    return ImageTables(classes, values, manifest.ids, manifest.groups, _arrays(path, manifest.n, len(classes)))


def _member_of(ensemble: Path, names: Sequence[str]) -> Path:
    """Return the directory of the first member of an ensemble that is there."""
    places = [sibling_member(ensemble, name) for name in names]
    for place in places:
        if is_run(place):
            return place
    raise EnsError(
        f"the ensemble {ensemble.name} takes its images from its members, but {places[0].parent} holds none of them;"
        f" copy one of {', '.join(names)} there"
    )


def _facts(path: Path, config: Any) -> DataFacts:
    return load_settings(DataFacts, config.get("data"), path / CONFIG)


def _arrays(path: Path, images: int, classes: int) -> dict[str, NDArray[Any]]:
    """Read all arrays of ``confusions.npz`` and check that each has a row per image."""
    file = path / CONFUSIONS
    tables = read_npz(file)
    rows = {len(table) if table.ndim else -1 for table in tables.values()}
    if rows != {images} or "confusions" not in tables or tables["confusions"].shape[1:] != (classes, classes):
        raise EnsError(f"expected tables of {images} images and {classes} classes in {file}, got others; make it again")
    return tables
