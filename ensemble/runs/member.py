"""A member on disk: one directory that holds a trained network, its settings, scores and probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataFacts, MemberSettings
from ensemble.core.arrays import read_npz
from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest, read_object
from ensemble.core.settings import load_settings
from ensemble.runs.layout import CONFIG, CONFUSIONS, ENVIRONMENT, SCORES, manifest_name, store_folder
from ensemble.runs.run_files import bundle_of, read_content
from ensemble.runs.status import check_files, check_recorded, checked_files, digests_of, read_config, read_status
from ensemble.runs.store import Store


@dataclass(frozen=True)
class Member:
    """A trained member, opened for reading.

    Attributes:
        path: its directory; the name of the directory is the name of the member.
        settings: the complete configuration it was trained from.
        facts: properties of the data it was trained on.
    """

    path: Path
    settings: MemberSettings
    facts: DataFacts

    @classmethod
    def open(cls, path: Path) -> Member:
        """Open a finished member.

        Raises:
            EnsError: the directory is not a member, not finished, damaged, or of another format.
        """
        status = read_status(path)
        if status.get("kind") == "ensemble":
            raise EnsError(f"expected a member, got the ensemble {path}; give the names of its members")
        if status.get("state") != "complete":
            raise EnsError(
                f"the member {path} is not finished (state '{status.get('state')}'); repeat its train command to"
                " resume it"
            )
        config = read_config(path, status)
        check_files(path, status, checked_files(path, "member"))
        return cls(
            path,
            load_settings(MemberSettings, config.get("settings"), path / CONFIG),
            load_settings(DataFacts, config.get("data"), path / CONFIG),
        )

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.path.name

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Content of ``scores.json``."""
        return read_object(self.path / SCORES, read_content)

    @cached_property
    def status(self) -> dict[str, Any]:
        """Content of ``status.json``: state, seconds, parameters, digests."""
        return read_status(self.path)

    def check(self, names: Iterable[str]) -> None:
        """Compare files of the member, such as weights, with the digests recorded when they were written.

        Raises:
            EnsError: a file is missing or differs.
        """
        check_files(self.path, self.status, names)

    def confusions(self) -> NDArray[np.int64]:
        """Return the confusion matrix of every scored image (n, k, k)."""
        return read_npz(self.path / CONFUSIONS)["confusions"]

    def store(self, split: str = "validation") -> Store:
        """Open the stored probabilities of ``validation`` (hold-out or out-of-fold) or ``test`` images.

        Raises:
            EnsError: they were not stored, differ from what was stored, or are those of another member.
        """
        if (bundle := bundle_of(self.path)) is not None:
            raise EnsError(
                f"{bundle.path} holds no predictions of {split} images, which this needs; use the run that it was made"
                " of"
            )
        check_recorded(self.path, self.status, manifest_name(split))
        return Store.open(store_folder(self.path, split))

    def has_store(self, split: str) -> bool:
        """Return whether probabilities of that split were written.

        Raises:
            EnsError: they were written and are lost, or differ from what was written.
        """
        return bundle_of(self.path) is None and check_recorded(self.path, self.status, manifest_name(split))

    @property
    def fingerprint(self) -> str:
        """Digest of the stored validation probabilities, by which an ensemble recognises the member."""
        name = manifest_name("validation")
        return digests_of(self.status).get(name) or file_digest(self.path / name)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Content of ``environment.json``: libraries and machine; empty if another tool trained the member.

        Raises:
            EnsError: it is lost, or differs from what was written.
        """
        if not check_recorded(self.path, self.status, ENVIRONMENT):
            return {}
        return read_object(self.path / ENVIRONMENT, read_content)
