"""Delete members and ensembles: only directories in the folder of runs, and never a member that an ensemble needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.locks import locked
from ensemble.runs.ensemble_dir import member_names
from ensemble.runs.folder import list_runs, match_name
from ensemble.runs.layout import ensembles_folder, evaluations_folder, is_run, members_folder
from ensemble.runs.study_labels import labelled_name

REMOVED = ".removed"


@dataclass(frozen=True)
class Removal:
    """Directories that may be removed, and their size in bytes."""

    paths: tuple[Path, ...]
    size: int


def plan_removal(names: Sequence[str | Path], runs: str | Path = "runs") -> Removal:
    """Find the directories to remove and check that no ensemble needs them; nothing is removed yet.

    Args:
        names: members, ensembles and evaluations by name, unique beginning of a name, or path.
        runs: folder for runs; nothing outside of the folders of these three is ever touched.

    Raises:
        EnsError: no directory or several directories match a name, an ensemble that stays needs the member, or the
            directory is a link.
    """
    root = Path(runs)
    for folder in (members_folder(root), ensembles_folder(root), evaluations_folder(root)):
        if folder.is_dir() and folder.resolve().parent != root.resolve():
            raise EnsError(f"{folder} is a link to {folder.resolve()}; give the folder that holds it as runs")
    ensembles = list_runs(root, "ensemble")
    # Ensembles are removed before the members they need.
    known = [*list_runs(root, "evaluation"), *ensembles, *list_runs(root, "member")]
    wanted = {_find(labelled_name(str(name), root), known) for name in names}
    paths = tuple(path for path in known if path in wanted)
    for path in paths:
        if path.is_symlink():
            raise EnsError(f"{path} is a link to {path.resolve()}; remove the link or its target yourself")
    for ensemble in ensembles:
        needed = () if ensemble in wanted or not is_run(ensemble) else _members_of(ensemble)
        for path in paths:
            if path.parent == members_folder(root) and path.name in needed:
                raise EnsError(
                    f"the ensemble {ensemble.name} needs the member {path.name}; remove the ensemble first, or name"
                    " both"
                )
    return Removal(paths, sum(_size(path) for path in paths))


def remove(names: str | Path | Sequence[str | Path], runs: str | Path = "runs") -> Removal:
    """Remove members and ensembles and return what was removed; nothing is removed if one of them is needed.

    Args:
        names: one or more members and ensembles, by name, unique beginning or path.
        runs: folder for runs.

    Raises:
        EnsError: see `plan_removal` and `remove_planned`.
    """
    removal = plan_removal([names] if isinstance(names, str | Path) else names, runs)
    remove_planned(removal)
    return removal


def remove_planned(removal: Removal) -> None:
    """Remove the directories of a plan; a member that is being trained is refused.

    A directory loses its name first. A process that is killed after that leaves nothing that looks like a member; the
    next removal deletes what it left.

    Raises:
        DirectoryLocked: a process trains a member.
        EnsError: a directory cannot be removed.
    """
    for path in removal.paths:
        renamed = path.with_name(f".{path.name}{REMOVED}")
        try:
            with locked(path):
                shutil.rmtree(renamed, ignore_errors=True)
                if os.name == "posix":  # within the lock, so that no training starts in a directory that goes away
                    path.rename(renamed)
            if os.name != "posix":  # Windows cannot rename a directory with an open file
                path.rename(renamed)
            for leftover in path.parent.glob(f".*{REMOVED}"):
                shutil.rmtree(leftover)
        except OSError as error:
            raise EnsError(f"cannot remove {path}: {error.strerror or error}; remove it yourself") from error


def _find(name: str, known: Sequence[Path]) -> Path:
    """Return the directory of ``known`` with this name or path; other paths are refused."""
    if Path(name).name == name:
        return match_name(name, known)
    for path in known:
        if _place(path) == _place(Path(name)):
            return path
    raise UnknownName("member or ensemble", name, [path.name for path in known])


def _place(path: Path) -> Path:
    """Return the absolute path, without following the path itself if it is a link."""
    return path.parent.resolve() / path.name


def _members_of(ensemble: Path) -> tuple[str, ...]:
    try:
        return member_names(ensemble)
    except EnsError:
        raise EnsError(
            f"cannot find out which members the ensemble {ensemble.name} needs, because it is damaged;"
            " remove that ensemble first"
        ) from None


def _size(path: Path) -> int:
    """Return the bytes of all files; links are not followed, and files that a training takes away are left out."""
    size = 0
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            file = Path(folder, name)
            with suppress(FileNotFoundError):
                size += 0 if file.is_dir() and not file.is_symlink() else file.lstat().st_size
    return size
