"""An ensemble on disk: its members by name, the pool that combines them, cross-fitted scores and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from ensemble.combining.combiner import Combiner
from ensemble.combining.serialization import load_combiner
from ensemble.config import PoolSettings, load_settings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.runs.member import Member, check_files, read_status

CHECKED = ("config.json", "scores.json", "confusions.npz")


@dataclass(frozen=True)
class Ensemble:
    """A combination of members, opened for reading."""

    path: Path
    settings: PoolSettings
    pool: Combiner
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
        return cls(path, settings, load_combiner(config.get("pool", {})), tuple(config["classes"]))

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

    def active(self) -> tuple[list[Member], Combiner]:
        """The members that have a part in the ensemble, and their combiner: all it takes to predict."""
        weights_m = self.pool.weights_m
        places = np.flatnonzero(weights_m).tolist() or [0]  # a regression may come out as its bias alone
        members = self.members()
        return [members[m] for m in places], self.pool.only(places)
