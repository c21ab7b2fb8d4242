"""Compare every file in a folder of runs with its checksum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.files import check_archive, digest
from ensemble.core.progress import Progress, no_progress
from ensemble.runs.ensemble_dir import member_names
from ensemble.runs.folder import list_runs
from ensemble.runs.layout import CHECKED, CHECKPOINTS, is_run, sibling_member, store_folder
from ensemble.runs.status import check_files, damaged_checkpoint, digests_of, read_status
from ensemble.runs.store.manifest import read_manifest


@dataclass
class Verification:
    """Result of `verify`.

    Attributes:
        members: number of finished members.
        ensembles: number of ensembles.
        files: number of intact files.
        unfinished: names and states of unfinished members.
        problems: a sentence for each damaged or missing file.
        damaged: names of the members and ensembles with such a file.
    """

    members: int = 0
    ensembles: int = 0
    files: int = 0
    unfinished: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    damaged: list[str] = field(default_factory=list[str])


def verify(runs: str | Path = "runs", progress: Progress = no_progress) -> Verification:
    """Compare every file of every member and ensemble in ``runs`` with the checksum recorded when it was written.

    The checksums of weights, configuration, scores, confusion matrices and history are in ``status.json``, those of
    stored probabilities in the manifest of their store, and those of unfinished members' checkpoints in the archive.

    Args:
        runs: folder for runs.
        progress: callback that receives the progress.

    Returns:
        The counts, and a sentence for every damaged or missing file.

    Raises:
        EnsError: the folder does not exist, or holds no member and no ensemble.
    """
    root = Path(runs)
    if not root.is_dir():
        raise EnsError(f"there is no folder {root}; give the folder that holds members/ and ensembles/")
    paths = list_runs(root)
    if not paths:
        raise EnsError(f"expected members/ or ensembles/ in {root}, but it holds neither; check the path")
    result = Verification()
    for count, path in enumerate(paths, 1):
        checks = list(_problems(path, result))
        problems = [problem for problem in checks if problem is not None]
        result.files += len(checks) - len(problems)
        result.problems += problems
        result.damaged += [path.name] if problems else []
        progress("verifying", count, len(paths), path.name)
    return result


def _problems(path: Path, result: Verification) -> Iterator[str | None]:
    """Yield for every file of a directory None, or a sentence on its damage; count the directory in ``result``."""
    try:
        status = read_status(path)
    except EnsError as error:
        yield str(error)
        return
    if status.get("kind") == "ensemble":
        result.ensembles += 1
        yield from _files(path, status, CHECKED["ensemble"])
        yield from _absent_members(path)
    elif status.get("state") == "complete":
        result.members += 1
        yield from _files(path, status, CHECKED["member"])
        yield from _store(store_folder(path, "validation"))
        if store_folder(path, "test").exists():
            yield from _store(store_folder(path, "test"))
    else:
        result.unfinished.append(f"{path.name} ({status.get('state')})")
        yield from (_checkpoint(file) for file in sorted(path.glob(CHECKPOINTS)))


def _files(path: Path, status: Mapping[str, Any], required: Iterable[str]) -> Iterator[str | None]:
    """Check the files whose checksums are in ``status.json``; those of ``required`` must have one."""
    for name in dict.fromkeys([*required, *digests_of(status)]):
        try:
            check_files(path, status, [name])
        except EnsError as error:
            yield str(error)
        else:
            yield None


def _store(folder: Path) -> Iterator[str | None]:
    """Check the manifest, which holds a checksum of itself, and every chunk."""
    try:
        manifest = read_manifest(folder)
    except EnsError as error:
        yield str(error)
        return
    yield None
    for chunk in manifest.chunks:
        file = folder / chunk.file
        if not file.is_file():
            yield f"{file} is missing from the probability store; train the member again"
        elif digest(file.read_bytes()) != chunk.digest:
            yield f"{file} differs from what was written (damaged or edited); train the member again"
        else:
            yield None


def _checkpoint(file: Path) -> str | None:
    try:
        check_archive(file)
    except Exception as error:  # reading a damaged archive can raise nearly any error
        return str(damaged_checkpoint(file, error))
    return None


def _absent_members(path: Path) -> Iterator[str]:
    """Yield a sentence for each member that an ensemble names and that does not exist."""
    try:
        names = member_names(path)
    except EnsError:
        return  # the check of the configuration has reported the damage
    for name in names:
        if not is_run(sibling_member(path, name)):
            yield f"the ensemble {path} needs the member {name}, which is missing; train it again"
