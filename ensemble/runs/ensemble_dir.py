"""An ensemble on disk: its members by name, the pool that combines them, cross-fitted scores and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from ensemble.config import PoolSettings, load_settings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.runs.folder import check_files, read_status
from ensemble.runs.member import Member

CHECKED = ("config.json", "scores.json", "confusions.npz")


@dataclass(frozen=True)
class Ensemble:
    """A combination of members, opened for reading.

    Attributes:
        path: its directory; the name of the directory is the name of the ensemble.
        settings: the complete configuration it was made from.
        pool: the fitted parameters as plain numbers; see `ensemble.combining.serialization.read_pool`.
        classes: names of the classes, in channel order.
    """

    path: Path
    settings: PoolSettings
    pool: Mapping[str, Any]
    classes: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> Ensemble:
        """Open a finished ensemble.

        Raises:
            EnsError: no ensemble, a newer format, or damaged files.
        """
        status = read_status(path)
        if status.get("kind") != "ensemble":
            raise EnsError(f"expected an ensemble in {path}, found a {status.get('kind')}; combine members first")
        check_files(path, status.get("files", {}), CHECKED, "combine the members again")
        config = read_json(path / "config.json")
        settings = load_settings(PoolSettings, config.get("settings"), path / "config.json")
        return cls(path, settings, config.get("pool", {}), tuple(config["classes"]))

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.path.name

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Content of ``scores.json``: cross-fitted scores, ``in_sample`` ones, and the verdict."""
        return cast(dict[str, Any], read_json(self.path / "scores.json"))

    def members(self) -> list[Member]:
        """The members, from the ``members`` folder beside ``ensembles``."""
        return [Member.open(self.path.parent.parent / "members" / name) for name in self.settings.members]
