"""Every checksum in a folder of runs, compared with the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.files import check_archive, digest, read_json
from ensemble.core.progress import Progress, no_progress
from ensemble.runs.folder import check_files, damaged_checkpoint, read_status
from ensemble.runs.member import CHECKED
from ensemble.runs.store.manifest import read_manifest

CHECKED_OF_ENSEMBLES = ("config.json", "scores.json", "confusions.npz")  # as in pool.ensembles, whose import is slow


@dataclass
class Verification:
    """What was found: how much was looked at, which directories are not finished, and what is wrong with which file.

    ``problems`` has a sentence per file, ``damaged`` the names of the members and ensembles these are in.
    """

    members: int = 0
    ensembles: int = 0
    files: int = 0
    unfinished: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    damaged: list[str] = field(default_factory=list[str])


def verify(runs: str | Path = "runs", progress: Progress = no_progress) -> Verification:
    """Compare every file of every member and ensemble in ``runs`` with the checksum recorded when it was written.

    Weights, configuration, scores, confusion matrices and history have theirs in ``status.json``, the chunks of
    probabilities in the manifest of their store, checkpoints of unfinished members in their archive.

    Args:
        runs: folder for runs.
        progress: callback that receives the progress.

    Returns:
        The counts, and a sentence for every damaged or missing file.

    Raises:
        EnsError: no such folder, or one without a member or ensemble.
    """
    root = Path(runs)
    if not root.is_dir():
        raise EnsError(f"there is no folder {root}; give the folder that holds members and ensembles")
    places = (path for kind in ("members", "ensembles") for path in sorted((root / kind).glob("[!.]*")))
    folders = [path for path in places if path.is_dir()]
    if not folders:
        raise EnsError(f"expected members/ or ensembles/ with something in it in {root}, found none; check the path")
    result = Verification()
    for done, path in enumerate(folders, 1):
        found = list(_problems(path, result))
        problems = [problem for problem in found if problem is not None]
        result.files += len(found) - len(problems)
        result.problems += problems
        result.damaged += [path.name] if problems else []
        progress("verifying", done, len(folders), path.name)
    return result


def _problems(path: Path, found: Verification) -> Iterator[str | None]:
    """For every file of a directory None, or what is wrong with it."""
    try:
        status = read_status(path)
    except EnsError as error:
        yield str(error)
        return
    if status.get("kind") == "ensemble":
        found.ensembles += 1
        yield from _files(path, status, CHECKED_OF_ENSEMBLES, "combine the members again")
        yield from _absent(path)
    elif status.get("state") == "complete":
        found.members += 1
        yield from _files(path, status, CHECKED, "train it again")
        yield from _store(path / "probabilities" / "validation")
        if (path / "probabilities" / "test").exists():
            yield from _store(path / "probabilities" / "test")
    else:
        found.unfinished.append(f"{path.name} ({status.get('state')})")
        yield from (_checkpoint(file) for file in sorted(path.glob("checkpoint-f*.pt")))


def _files(path: Path, status: dict[str, Any], required: Iterable[str], cure: str) -> Iterator[str | None]:
    """Files whose checksums are in ``status.json``; those of ``required`` must have one."""
    recorded: Any = status.get("files")
    digests = {str(name): str(value) for name, value in recorded.items()} if isinstance(recorded, dict) else {}
    for name in dict.fromkeys([*required, *digests]):
        yield _complaint(lambda name=name: check_files(path, digests, [name], cure))


def _store(folder: Path) -> Iterator[str | None]:
    """The manifest, which has a checksum of its own, and every chunk."""
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
    except Exception as error:  # damaged archives raise nearly anything
        return str(damaged_checkpoint(file, error))
    return None


def _absent(path: Path) -> Iterator[str | None]:
    """Members that an ensemble names and that are not there."""
    try:
        names = read_json(path / "config.json")["settings"]["members"]
    except (EnsError, KeyError, TypeError):
        return  # the checksum has told it
    for name in names:
        if not (path.parent.parent / "members" / str(name) / "status.json").is_file():
            yield f"{path} needs the member {name}, which is missing; train it again"


def _complaint(check: Callable[[], object]) -> str | None:
    try:
        check()
    except EnsError as error:
        return str(error)
    return None
