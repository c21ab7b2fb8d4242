"""An ensemble on disk: names of its members, the pool that combines them, cross-fitted scores and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ensemble.config import PoolSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_object
from ensemble.core.settings import load_settings
from ensemble.runs.layout import CONFIG, SCORES, sibling_member
from ensemble.runs.member import Member
from ensemble.runs.run_files import bundle_of, read_content
from ensemble.runs.status import advice, check_files, checked_files, read_config, read_status


@dataclass(frozen=True)
class Ensemble:
    """A combination of members, opened for reading.

    Attributes:
        path: its directory; the name of the directory is the name of the ensemble.
        settings: the complete configuration it was made from.
        pool: the fitted parameters as plain numbers; see `ensemble.combining.serialization.read_pool`.
        classes: names of the classes, in channel order.
        fingerprints: `Member.fingerprint` of each member that it was fitted on; empty if version 0.1 or 0.2 wrote it.
        fold_pools: like ``pool``, fitted without the images of each fold; the table ``fold`` holds the fold of each
            image. Empty if an older version wrote it.
        quality: the estimate of the quality of new images as plain numbers, see `ensemble.combining.quality.Quality`;
            None if version 0.1 or 0.2 wrote it.
        rival_pools: those of the full ensemble that a budget or a cascade is judged against: like ``pool``, then like
            ``fold_pools``. Empty for other ensembles, and if an older version wrote it.
    """

    path: Path
    settings: PoolSettings
    pool: Mapping[str, Any]
    classes: tuple[str, ...]
    fingerprints: Mapping[str, str]
    fold_pools: tuple[Mapping[str, Any], ...] = ()
    quality: Mapping[str, Any] | None = None
    rival_pools: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def open(cls, path: Path) -> Ensemble:
        """Open a finished ensemble.

        Raises:
            EnsError: the directory is not an ensemble, damaged, or of another format.
        """
        status = read_status(path)
        if status.get("kind") != "ensemble":
            raise EnsError(f"expected an ensemble, got the {status.get('kind')} {path}; combine members first")
        config = read_config(path, status)
        check_files(path, status, checked_files(path, "ensemble"))
        settings = load_settings(PoolSettings, config.get("settings"), path / CONFIG)
        pool, classes, fingerprints = config.get("pool", {}), tuple(config["classes"]), config.get("members", {})
        fold_pools, rival_pools = (tuple(config.get(name, ())) for name in ("fold_pools", "rival_pools"))
        return cls(path, settings, pool, classes, fingerprints, fold_pools, config.get("quality"), rival_pools)

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.path.name

    @property
    def is_cheaper(self) -> bool:
        """Whether it has a budget or is a cascade, and so is judged against the full ensemble."""
        return self.settings.within is not None or self.settings.keep_gain is not None

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Content of ``scores.json``: cross-fitted scores, ``in_sample`` scores, and the verdict."""
        return read_object(self.path / SCORES, read_content)

    def members(self) -> list[Member]:
        """Open the members, from the ``members`` folder next to ``ensembles``.

        Raises:
            EnsError: a member is missing or damaged, or was trained again since.
        """
        return [self.member(name) for name in self.settings.members]

    def member(self, name: str) -> Member:
        """Open one of the members.

        Raises:
            EnsError: it is missing or damaged, or was trained again since.
        """
        path = sibling_member(self.path, name)
        if not path.is_dir() and bundle_of(path) is None:
            raise EnsError(
                f"the ensemble {self.name} needs the member {path.name}, but {path.parent} does not hold it; copy"
                " it there or train it again"
            )
        member = Member.open(path)
        check_fingerprint(self, member)
        return member


def check_fingerprint(ensemble: Ensemble, member: Member) -> None:
    """Compare a member with the one of the same name that an ensemble was fitted on.

    Raises:
        EnsError: its stored probabilities are others.
    """
    if ensemble.fingerprints.get(member.name, member.fingerprint) != member.fingerprint:
        raise EnsError(
            f"the ensemble {ensemble.path} was fitted on other predictions of {member.name} than that member holds now;"
            f" {advice(ensemble.path)}"
        )


def member_names(path: Path) -> tuple[str, ...]:
    """Return the names of the members of an ensemble, without checking its other files.

    Raises:
        EnsError: its status or configuration is lost or damaged.
    """
    config = read_config(path, read_status(path))
    return load_settings(PoolSettings, config.get("settings"), path / CONFIG).members
