"""Which members are combined: by name, by path, or all of the newest data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ensemble.core.errors import EnsError, UnknownName
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member


def choose_members(runs: Path, names: Sequence[str | Path] = (), drop: Sequence[str | Path] = ()) -> list[Member]:
    """Members by name or path; without names all members of the newest data set and split in ``runs``.

    Args:
        runs: folder for runs.
        names: members to take.
        drop: members to leave out of these.

    Raises:
        EnsError: fewer than two members, a member given twice, or one that is not there.
    """
    members = open_members(runs, names) if names else newest_members(runs)
    for name in drop:
        out = Member.open(_member_path(runs, str(name))).name
        if out not in {member.name for member in members}:
            raise UnknownName("member to drop", out, [member.name for member in members])
        members = [member for member in members if member.name != out]
    if len(members) < 2:
        raise EnsError(
            f"expected at least two members to combine, got {len(members)}"
            f"{' of the newest data set' if not names else ''} in {runs}; train another with `ens train`"
        )
    return members


def open_members(runs: Path, names: Sequence[str | Path]) -> list[Member]:
    """Members by path, name or unique beginning of a name; one given twice is refused."""
    members = [Member.open(_member_path(runs, str(name))) for name in names]
    repeated = next((m.name for i, m in enumerate(members) if m.name in {x.name for x in members[:i]}), None)
    if repeated is not None:
        raise EnsError(f"the member {repeated} was given twice; give each once, and use --weights to let it count more")
    return members


def newest_members(runs: Path, data_hash: str | None = None) -> list[Member]:
    """All finished members of one data set (the newest where none is given) and of its newest split."""
    found = [Member.open(path) for path in find_members(runs)]
    found = [member for member in found if data_hash in (None, member.facts.data_hash)]
    if not found:
        return []
    newest = found[-1].facts
    wanted = (newest.data_hash, newest.split_hash)
    return [member for member in found if (member.facts.data_hash, member.facts.split_hash) == wanted]


def _member_path(runs: Path, name: str) -> Path:
    if (Path(name) / "status.json").is_file():
        return Path(name)
    path = runs / "members" / name
    if not path.is_dir():
        known = [found.name for found in (runs / "members").glob("*") if found.is_dir()]
        near = [found for found in known if found.startswith(name)]
        if len(near) == 1:
            return runs / "members" / near[0]
        raise UnknownName("member", name, known)
    return path
