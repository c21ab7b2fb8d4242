"""A member on disk: one directory that holds a trained network, its settings, scores and probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataFacts, MemberSettings, load_settings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.runs.folder import check_files, read_status
from ensemble.runs.store import Store

CHECKED = ("config.json", "scores.json", "confusions.npz", "history.csv")


@dataclass(frozen=True)
class Member:
    """A trained member, opened for reading.

    Attributes:
        path: its directory; the name of the directory is the name of the member.
        settings: the complete configuration it was trained from.
        facts: what it remembers of its data.
    """

    path: Path
    settings: MemberSettings
    facts: DataFacts

    @classmethod
    def open(cls, path: Path) -> Member:
        """Open a finished member.

        Raises:
            EnsError: no member, an unfinished one, a newer format, or damaged files.
        """
        status = read_status(path)
        if status.get("kind") == "ensemble":
            raise EnsError(f"expected a member, found an ensemble in {path}; name the members themselves")
        if status.get("state") != "complete":
            raise EnsError(
                f"{path} is not finished (state '{status.get('state')}'); repeat its train command to resume it"
            )
        check_files(path, status.get("files", {}), CHECKED)
        config = read_json(path / "config.json")
        return cls(
            path,
            load_settings(MemberSettings, config.get("settings"), path / "config.json"),
            load_settings(DataFacts, config.get("data"), path / "config.json"),
        )

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.path.name

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Content of ``scores.json``."""
        return cast(dict[str, Any], read_json(self.path / "scores.json"))

    @cached_property
    def status(self) -> dict[str, Any]:
        """Content of ``status.json``: state, seconds, parameters, digests."""
        return read_status(self.path)

    def confusions(self) -> NDArray[np.int64]:
        """Confusion matrix of every scored image (n, k, k)."""
        with np.load(self.path / "confusions.npz", allow_pickle=False) as archive:
            return archive["confusions"]

    def store(self, split: str = "validation") -> Store:
        """Stored probabilities of ``validation`` (hold-out or out-of-fold) or ``test`` images."""
        return Store.open(self.path / "probabilities" / split)

    def has_store(self, split: str) -> bool:
        """Whether probabilities of that split were written."""
        return (self.path / "probabilities" / split / "manifest.json").is_file()
