"""Removing members and ensembles: only what lies in the folder of runs, and never what an ensemble needs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ensemble.config import PoolSettings, load_settings
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import read_json
from ensemble.core.locks import locked

KINDS = ("ensembles", "members")  # in the order they are removed: ensembles before the members they need
REMOVED = ".removed"


@dataclass(frozen=True)
class Removal:
    """Directories that may be removed, and their size in bytes."""

    paths: tuple[Path, ...]
    size: int


def plan_removal(names: Sequence[str | Path], runs: str | Path = "runs") -> Removal:
    """Find the directories that ``names`` mean and check that nothing else needs them; removes nothing.

    Args:
        names: members and ensembles by name, unique beginning of a name, or path.
        runs: folder for runs; nothing outside its ``members`` and ``ensembles`` is ever touched.

    Raises:
        UnknownName: no directory in ``runs`` is called so, or several begin so.
        EnsError: a member that an ensemble needs which is not removed with it, a link, or a folder of links.
    """
    root = Path(runs)
    known = [path for kind in KINDS for path in _directories(root, kind)]
    chosen = {_find(str(name), known) for name in names}
    paths = tuple(path for path in known if path in chosen)
    for path in paths:
        if path.is_symlink():
            raise EnsError(f"{path} is a link to {path.resolve()}; remove the link yourself, or what it leads to")
    for ensemble in _directories(root, "ensembles"):
        needed = set() if ensemble in chosen else _members_of(ensemble)
        for path in paths:
            if path.parent.name == "members" and path.name in needed:
                raise EnsError(
                    f"the ensemble {ensemble.name} needs the member {path.name}; remove the ensemble first, or name"
                    " both"
                )
    return Removal(paths, sum(_size(path) for path in paths))


def remove(removal: Removal) -> None:
    """Remove the directories of a plan; a member that is being trained is left alone.

    A directory loses its ``status.json`` first and then its name, so that a kill leaves nothing that looks like a
    member; what a kill left is swept up by the next removal.

    Raises:
        DirectoryLocked: a process works on a member.
        EnsError: a directory cannot be removed.
    """
    for path in removal.paths:
        gone = path.with_name(f".{path.name}{REMOVED}")
        try:
            with locked(path):
                shutil.rmtree(gone, ignore_errors=True)
                (path / "status.json").unlink(missing_ok=True)
            path.rename(gone)
            for leftover in path.parent.glob(f".*{REMOVED}"):
                shutil.rmtree(leftover)
        except OSError as error:
            raise EnsError(f"cannot remove {path}: {error.strerror or error}; remove it yourself") from error


def _directories(root: Path, kind: str) -> list[Path]:
    """What lies directly in a folder of runs, links among it, hidden things not."""
    folder = root / kind
    if not folder.is_dir():
        return []
    if folder.resolve().parent != root.resolve():
        raise EnsError(f"{folder} is a link to {folder.resolve()}; give --runs with the folder that holds it")
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())


def _find(name: str, known: Sequence[Path]) -> Path:
    """The one directory of ``known`` that a name, its beginning or a path means."""
    if Path(name).name == name:
        found = [path for path in known if path.name == name] or [path for path in known if path.name.startswith(name)]
    else:
        found = [path for path in known if _place(path) == _place(Path(name))]
    if len(found) != 1 or not name:
        raise UnknownName("member or ensemble", name, [path.name for path in known])
    return found[0]


def _place(path: Path) -> Path:
    """Where a path leads, without following it if it is a link itself."""
    return path.parent.resolve() / path.name


def _members_of(ensemble: Path) -> set[str]:
    try:
        return set(load_settings(PoolSettings, read_json(ensemble / "config.json")["settings"], ensemble).members)
    except (EnsError, KeyError, TypeError):
        raise EnsError(
            f"expected the members of {ensemble} in its config.json, found none, so nobody knows which it needs;"
            " remove that ensemble first"
        ) from None


def _size(path: Path) -> int:
    """Bytes of all files, links not followed."""
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir() or file.is_symlink())
