"""A folder of runs: find a member or ensemble by name, unique beginning of its name, label in a study, or path."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.locks import is_worked_on
from ensemble.core.reading import is_file, is_folder
from ensemble.runs.bundle import open_bundle
from ensemble.runs.layout import (
    BUNDLE_SUFFIX,
    REFIT_ENDING,
    Kind,
    ensembles_folder,
    evaluations_folder,
    is_name,
    is_run,
    members_folder,
)
from ensemble.runs.run_files import bundle_of
from ensemble.runs.status import is_complete, read_status, run_state
from ensemble.runs.study_labels import labelled_name


def find_run(name: str | Path, runs: str | Path = "runs", kind: Kind | None = None) -> Path:
    """Return the directory of a member or ensemble.

    Args:
        name: the name, the unique beginning of a name, ``STUDY:LABEL``, or a path.
        runs: folder in which names are looked up.
        kind: kind of runs among which names are looked up; both kinds by default.

    Raises:
        EnsError: no run has that name, or several names begin with it.

    >>> find_run("unet-ce", "runs")  # doctest: +SKIP
    PosixPath('runs/members/unet-ce-s0-7ca07c')
    """
    path = Path(name)
    if is_run(path):
        path = path if path.name not in ("", "..") else path.resolve()
        if not is_name(path.name):
            raise EnsError(f"{path} is hidden: a left-over of a command that was stopped; give the name of a run")
        return path
    if is_folder(members_folder(path)) or is_folder(ensembles_folder(path)):
        raise EnsError(f"{path} is a folder of runs, and no run; give it as runs, and the name of a run in it")
    if _is_bundle(path) and is_file(path):
        raise EnsError(
            f"{path} is a bundle, which can predict and be evaluated, but holds no predictions to look into; give the"
            " run that it was made of"
        )
    return match_name(labelled_name(str(name), Path(runs)), list_runs(Path(runs), kind), kind or "member or ensemble")


def find_model(name: str | Path, runs: str | Path = "runs") -> Path:
    """Return the directory of a member or ensemble that is to predict; that of a bundle lies below the file.

    Args:
        name: what `find_run` takes, or the path of a bundle.
        runs: folder in which names are looked up.

    Raises:
        EnsError: as `find_run`, or the bundle is damaged.

    >>> find_model("street.ens")  # doctest: +SKIP
    PosixPath('street.ens/ensembles/learned-3-1a2b3c')
    """
    path = Path(name)
    if _is_bundle(path):
        return open_bundle(path).model
    return path if bundle_of(path) is not None else find_run(name, runs)


def _is_bundle(path: Path) -> bool:
    return path.suffix == BUNDLE_SUFFIX and not is_run(path)


def match_name(name: str, paths: Sequence[Path], what: str = "member or ensemble") -> Path:
    """Return the one of ``paths`` that has this name, or else the only one whose name begins with it.

    A refit has the name of its twin with an ending, so it is meant only where its ending is given.

    Raises:
        EnsError: no path or several paths match.
    """
    matches = [path for path in paths if path.name == name]
    matches = matches or [path for path in paths if name and path.name.startswith(name)]
    twins = {path.with_name(path.name + REFIT_ENDING) for path in matches}
    matches = [path for path in matches if path not in twins]
    if not matches:
        raise UnknownName(what, name, [path.name for path in paths], listing="`ens results`")
    if len(matches) > 1:
        names = ", ".join(path.name for path in matches)
        raise EnsError(f"'{name}' matches {len(matches)} names ({names}); give more of the name")
    return matches[0]


def list_runs(runs: Path, kind: Kind | None = None) -> list[Path]:
    """Return the directories of a kind by name, or those of members and then of ensembles; hidden ones are left out.

    Evaluations are listed only if they are asked for: they have no network, so no command takes one as a model.

    Raises:
        EnsError: a folder cannot be read.
    """
    folders: dict[Kind, Path] = {
        "member": members_folder(runs),
        "ensemble": ensembles_folder(runs),
        "evaluation": evaluations_folder(runs),
    }
    kinds: tuple[Kind, ...] = (kind,) if kind else ("member", "ensemble")
    return [path for one in kinds for path in _directories(folders[one])]


def _directories(folder: Path) -> list[Path]:
    if not is_folder(folder):
        return []
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
    except OSError as error:
        raise EnsError(f"{folder} cannot be read ({error.strerror}); allow it, or choose another folder") from None


def find_members(runs: Path, without: Collection[str] = ()) -> list[Path]:
    """Return the directories of all finished members, the one that was finished first at the top.

    Args:
        runs: folder for runs.
        without: names of members that are not looked at.

    Raises:
        EnsError: the status of a member is lost or damaged.
    """
    paths = [path for path in list_runs(runs, "member") if path.name not in without]
    finished = [path for path in paths if is_complete(path)]
    return sorted(finished, key=lambda path: (read_status(path).get("finished", ""), path.name))


def find_unfinished(runs: Path, without: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Return the names of the members that a process trains now, and of those that were interrupted.

    Args:
        runs: folder for runs.
        without: names of members that are not looked at.

    Raises:
        EnsError: the folder cannot be read.
    """
    found: tuple[list[str], list[str]] = ([], [])
    for path in list_runs(runs, "member"):
        if path.name not in without:
            with suppress(EnsError):  # damaged
                if run_state(path) not in (None, "complete"):
                    found[not is_worked_on(path)].append(path.name)
    return found
