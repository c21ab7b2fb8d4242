"""Compare every file of the members, ensembles, evaluations and looks in a folder of runs with its checksum."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.files import check_archive, digest
from ensemble.core.locks import is_worked_on
from ensemble.core.progress import Progress, no_progress
from ensemble.core.reading import is_folder
from ensemble.runs.ensemble_dir import Ensemble, check_fingerprint, member_names
from ensemble.runs.folder import list_runs
from ensemble.runs.layout import (
    CHECKED,
    CHECKPOINTS,
    CONFIG,
    SPLITS,
    is_name,
    is_run,
    manifest_name,
    sibling_member,
    store_folder,
)
from ensemble.runs.looks import check_looks
from ensemble.runs.member import Member
from ensemble.runs.status import (
    RunToKeep,
    advice,
    check_files,
    damaged_checkpoint,
    digests_of,
    is_old,
    read_config,
    read_status,
)
from ensemble.runs.store.manifest import read_manifest


@dataclass
class Verification:
    """Result of `verify`.

    Attributes:
        members: number of finished members.
        ensembles: number of ensembles.
        evaluations: number of evaluations.
        looks: number of looks at images (`ensemble.runs.looks`).
        files: number of intact files.
        unfinished: names and states of members that were not finished and that no process works on.
        worked_on: names of members that a process trains now.
        problems: a sentence for each damaged or missing file, and for each run that cannot be used as it lies.
        damaged: names of the members and ensembles that must be made again. None of them is renamed, of a newer
            version, or an ensemble that lacks a member: deletion would lose what can still be used.
        dependents: names of the intact ensembles that need a damaged member.
        old: names of the runs that version 0.1 or 0.2 wrote, whose status and environment have no checksum.
    """

    members: int = 0
    ensembles: int = 0
    evaluations: int = 0
    looks: int = 0
    files: int = 0
    unfinished: list[str] = field(default_factory=list[str])
    worked_on: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    damaged: list[str] = field(default_factory=list[str])
    dependents: list[str] = field(default_factory=list[str])
    old: list[str] = field(default_factory=list[str])


def verify(runs: str | Path = "runs", progress: Progress = no_progress) -> Verification:
    """Compare every file of every member and ensemble in ``runs`` with the checksum recorded when it was written.

    ``status.json`` holds a checksum of itself and those of all other files; those of the chunks of stored probabilities
    are in the manifest of their store, and those of unfinished members' checkpoints in the archive. ``log.txt`` and
    ``examples.png``, which are never read again, have none. A look holds its checksum, but one that is gone is not
    missed.

    Args:
        runs: folder for runs.
        progress: callback that receives the progress.

    Returns:
        The counts, and a sentence for every damaged or missing file.

    Raises:
        EnsError: the folder does not exist, or holds no member and no ensemble.
    """
    root = Path(runs)
    if not is_folder(root):
        raise EnsError(f"there is no folder {root}; give the folder that holds members/ and ensembles/")
    paths = [*list_runs(root), *list_runs(root, "evaluation")]
    if not paths:
        raise EnsError(f"expected members/ or ensembles/ in {root}, but it holds neither; check the path")
    result, renamed = Verification(), set[str]()
    for count, path in enumerate(paths, 1):
        checks = list(_problems(path, result, renamed))
        if not path.exists():  # removed meanwhile
            continue
        problems = _count(checks, result)
        keep = [problem for problem in problems if isinstance(problem, RunToKeep)]
        renamed |= {problem.renamed for problem in keep}
        result.damaged += [path.name] if problems and not keep else []
        progress("verifying", count, len(paths), path.name)
    looks = list(check_looks(root))
    result.looks = len(looks)
    _count(looks, result)
    for path in list_runs(root, "ensemble"):
        if path.name not in result.damaged and not set(result.damaged).isdisjoint(_member_names(path)):
            result.dependents.append(path.name)
    return result


def _count(checks: Collection[EnsError | None], result: Verification) -> list[EnsError]:
    """Count intact files and name the damage of the others in ``result``; return the damage."""
    problems = [problem for problem in checks if problem is not None]
    result.files += len(checks) - len(problems)
    result.problems += map(str, problems)
    return problems


def _problems(path: Path, result: Verification, renamed: Collection[str]) -> Iterator[EnsError | None]:
    """Yield for every file of a directory None, or the error that its damage is; count the directory in ``result``.

    Members are looked at first: ``renamed`` holds the names of those whose directories have another name.
    """
    if not is_run(path):
        return
    try:
        status = read_status(path)
    except EnsError as error:
        yield error
        return
    if status.get("state") != "complete":
        if is_worked_on(path):
            result.worked_on.append(path.name)
            return
        result.unfinished.append(f"{path.name} ({status.get('state')})")
        yield from (_checkpoint(file) for file in sorted(path.glob(CHECKPOINTS)))
        return
    if is_old(status):
        result.old.append(path.name)
    else:
        yield None  # the status, which read_status has compared with its checksum
    if status.get("kind") == "ensemble":
        result.ensembles += 1
        yield from _files(path, status, CHECKED["ensemble"])
        yield from _members(path, renamed)
    elif status.get("kind") == "evaluation":
        result.evaluations += 1
        yield from _files(path, status, CHECKED["evaluation"])
    else:
        result.members += 1
        store = () if is_old(status) else (manifest_name("validation"),)
        yield from _files(path, status, (*CHECKED["member"], *store))
        yield from _stores(path, status)


def _files(path: Path, status: Mapping[str, Any], required: Iterable[str]) -> Iterator[EnsError | None]:
    """Check the files whose checksums are in ``status.json``; those of ``required`` must have one."""
    for name in dict.fromkeys([*required, *digests_of(status)]):
        try:
            if name == CONFIG:
                read_config(path, status)
            else:
                check_files(path, status, [name])
        except EnsError as error:
            yield error
        else:
            yield None


def _stores(path: Path, status: Mapping[str, Any]) -> Iterator[EnsError | None]:
    """Check every chunk of the stores; `_files` has compared their manifests, unless an old version wrote them."""
    old = is_old(status)
    for split in SPLITS:
        folder = store_folder(path, split)
        if manifest_name(split) not in digests_of(status) and not (old and (split == "validation" or folder.exists())):
            continue
        try:
            manifest = read_manifest(folder)
        except EnsError as error:
            yield from [error] if old else []
            continue
        yield from [None] if old else []
        yield from (_chunk(folder / chunk.file, chunk.digest, path) for chunk in manifest.chunks)


def _chunk(file: Path, recorded: str, member: Path) -> EnsError | None:
    if not file.is_file():
        return EnsError(f"{file} is missing; {advice(member)}")
    if digest(file.read_bytes()) != recorded:
        return EnsError(f"{file} differs from what was written (damaged or edited); {advice(member)}")
    return None


def _checkpoint(file: Path) -> EnsError | None:
    try:
        check_archive(file)
    except Exception as error:  # reading a damaged archive can raise nearly any error
        return damaged_checkpoint(file, error) if file.exists() else None  # the training needs it no more
    return None


def _members(path: Path, renamed: Collection[str]) -> Iterator[EnsError]:
    """Yield an error for each member of an ensemble that is missing, or that the ensemble was not fitted on."""
    try:
        ensemble = Ensemble.open(path)
    except EnsError:
        return  # the check of its files has reported the damage
    for name in ensemble.settings.members:
        try:
            if not is_run(sibling_member(path, name)):
                if name not in renamed:  # the check of the member has said what to do
                    yield RunToKeep(
                        f"the ensemble {path} needs the member {name}, which is missing; copy it there, or train it"
                        " again"
                    )
                continue
            member = Member.open(sibling_member(path, name))
        except EnsError as error:
            if not is_name(name):
                yield error
            continue  # the check of the member has reported the damage
        try:
            check_fingerprint(ensemble, member)
        except EnsError as error:
            yield error


def _member_names(path: Path) -> tuple[str, ...]:
    try:
        return member_names(path)
    except EnsError:
        return ()
