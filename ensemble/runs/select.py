"""Choose the members to combine: by name, by path, or all members of the newest data set."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.reading import is_folder
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.folder import find_members, find_run, list_runs
from ensemble.runs.layout import manifest_name
from ensemble.runs.member import Member
from ensemble.runs.status import digests_of, read_status


def choose_members(
    runs: Path, names: Sequence[str | Path | Member] = (), drop: Sequence[str | Path] = ()
) -> list[Member]:
    """Open members by name or path; without names all members of the newest data set and split in ``runs``.

    Args:
        runs: folder for runs.
        names: members to take.
        drop: members to leave out of these.

    Raises:
        EnsError: fewer than two members remain, a member was given twice, or a member does not exist.
    """
    dropped = [find_run(name, runs, "member").name for name in drop]
    members = open_members(runs, names) if names else newest_members(runs, without=dropped)
    for member in members:
        if twin := member.settings.refit_of:
            raise EnsError(f"{member.name} is a refit; combine its twin {twin}, and refit the ensemble")
    known = [member.name for member in members]
    for name in dropped if names else ():
        if name not in known:
            raise UnknownName("member to drop", name, known)
    members = [member for member in members if member.name not in dropped]
    if not (members or names or is_folder(runs)):
        raise EnsError(f"there is no folder {runs}; train a member with `ens train` first, or choose another folder")
    if len(members) < 2:
        raise EnsError(
            f"expected at least two members to combine, got {len(members)}: name another, or none to combine all"
            if names
            else f"expected at least two members to combine, got {len(members)} of the newest data set in {runs}; train"
            " another with `ens train`"
        )
    return members


def open_members(runs: Path, names: Sequence[str | Path | Member]) -> list[Member]:
    """Open members by path, name or unique beginning of a name; members that are open already stay as they are.

    Raises:
        EnsError: a member was given twice, or does not exist.
    """
    members = [name if isinstance(name, Member) else Member.open(find_run(name, runs, "member")) for name in names]
    repeated = next((m.name for i, m in enumerate(members) if m.name in {x.name for x in members[:i]}), None)
    if repeated is not None:
        raise EnsError(
            f"the member {repeated} was given twice; give each member once, and use"
            ' method "weighted(weights=[...])" to let one count more'
        )
    return members


def same_before(member: Member) -> str | None:
    """Return the name of the first member in the same folder that stored the same predictions earlier, or None."""
    name, found = manifest_name("validation"), list[tuple[str, str]]()
    for path in list_runs(member.path.parent.parent, "member"):
        with suppress(EnsError):  # a damaged member is no reason to fail here
            status = read_status(path)
            if digests_of(status).get(name) == member.fingerprint:
                found.append((str(status.get("finished")), path.name))
    first = min(found, default=("", member.name))[1]
    return None if first == member.name else first


def named_members(runs: Path, names: Sequence[str | Path]) -> list[Member]:
    """Open members by name; the name of an ensemble stands for all its members.

    Raises:
        EnsError: a run does not exist, or a member was given twice.
    """
    members = list[Member]()
    for path in [find_run(name, runs) for name in names]:
        is_ensemble = read_status(path).get("kind") == "ensemble"
        members += Ensemble.open(path).members() if is_ensemble else [Member.open(path)]
    return open_members(runs, members)


def newest_members(runs: Path, data_hash: str | None = None, without: Sequence[str] = ()) -> list[Member]:
    """Open all finished members of one data set (default: the newest one) and of its newest split.

    Args:
        runs: folder for runs.
        data_hash: the data set.
        without: names of members that are left out, also if they are damaged.

    Raises:
        EnsError: a member is damaged; the text names it.
    """
    members = [Member.open(path) for path in find_members(runs, without)]
    members = [member for member in members if data_hash in (None, member.facts.data_hash)]
    members = [member for member in members if not member.settings.refit_of]  # the twin has the same probabilities
    if not members:
        return []
    newest = members[-1].facts
    wanted = (newest.data_hash, newest.split_hash)
    return [member for member in members if (member.facts.data_hash, member.facts.split_hash) == wanted]
