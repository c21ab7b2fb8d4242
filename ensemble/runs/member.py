"""A member on disk: one directory that holds a trained network, its settings, scores and probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.config import FORMAT_VERSION, DataFacts, MemberSettings, load_settings
from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest, read_json
from ensemble.core.registry import IMPORTED
from ensemble.runs.store import Store

if TYPE_CHECKING:
    from ensemble.inference.network import Network

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

    def networks(self, device: str = "cpu") -> list[Network]:
        """The network of every fold, ready for inference."""
        if self.settings.architecture.origin == IMPORTED:
            raise EnsError(
                f"{self.name} was imported as probabilities and has no network; predict with the tool that made it,"
                " or with other members"
            )
        from ensemble.inference.network import load_network  # noqa: PLC0415  (reading scores and probabilities needs no torch)

        names = [f"weights-f{fold}.safetensors" for fold in range(self.settings.data.folds or 1)]
        check_files(self.path, self.status.get("files", {}), names)
        return [load_network(self.settings, self.facts, self.path / name, device) for name in names]


def read_status(path: Path) -> dict[str, Any]:
    """Status of a member or ensemble directory, after checking that this version can read it."""
    if not (path / "status.json").is_file():
        raise EnsError(
            f"expected a member or ensemble directory with a status.json, found none in {path}; check the path"
        )
    content = read_json(path / "status.json")
    status = cast(dict[str, Any], content if isinstance(content, dict) else {})
    version = status.get("format_version")
    if not isinstance(version, int):
        raise EnsError(f"{path / 'status.json'} is damaged (no format_version); make the directory again")
    if version > FORMAT_VERSION:
        raise EnsError(
            f"{path} was written in format {version}, this version reads up to {FORMAT_VERSION}; upgrade ens-toolkit"
        )
    return status


def check_files(path: Path, digests: Mapping[str, str], names: Iterable[str], cure: str = "train it again") -> None:
    """Compare files with the digests recorded when they were written; ``cure`` is what the error advises."""
    for name in names:
        if not (path / name).is_file():
            raise EnsError(f"{path / name} is missing; the directory is incomplete, {cure}")
        if name not in digests or file_digest(path / name) != digests[name]:
            raise EnsError(f"{path / name} differs from what was written (damaged or edited); {cure}")


def find_members(runs: Path) -> Iterator[Path]:
    """Directories of finished members, oldest first."""
    found = [path.parent for path in (runs / "members").glob("*/status.json")]
    finished = [path for path in found if read_status(path).get("state") == "complete"]
    return iter(sorted(finished, key=lambda path: (read_status(path).get("finished", ""), path.name)))
