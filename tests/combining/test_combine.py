"""Ensembles on disk: which members are taken, what is written, and every damage reported by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import sealed
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member
from ensemble.runs.select import choose_members

MakeMember = Callable[..., Member]
MakeWorld = Callable[..., Any]


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | changes)))


# ---------------------------------------------------------------- choosing members


def test_all_members_of_the_newest_data_are_taken_oldest_first(
    tmp_path: Path, members: list[Member], make_member: MakeMember, make_world: MakeWorld
) -> None:
    make_member(tmp_path, "linknet", world=make_world(data_hash="a" * 32), finished="2026-10-01T00:00:00+00:00")
    make_member(tmp_path, "se-unet", world=make_world(split_hash="a" * 32), finished="2026-10-02T00:00:00+00:00")
    assert [member.name for member in choose_members(tmp_path)] == [member.name for member in members]


def test_a_newer_split_of_the_same_data_wins(
    tmp_path: Path, members: list[Member], make_member: MakeMember, make_world: MakeWorld
) -> None:
    other = make_world(split_hash="a" * 32)
    newer = [make_member(tmp_path, name, world=other, finished="2026-12-01T00:00:00+00:00") for name in ("a", "b")]
    assert [member.name for member in choose_members(tmp_path)] == [member.name for member in newer]
    assert len(members) == 2


def test_unfinished_members_are_left_out(tmp_path: Path, members: list[Member], make_member: MakeMember) -> None:
    unfinished = make_member(tmp_path, "linknet", finished="2026-12-01T00:00:00+00:00")
    edit_json(unfinished.path / "status.json", state="interrupted")
    assert [member.name for member in choose_members(tmp_path)] == [member.name for member in members]
    with pytest.raises(EnsError, match=r"is not finished \(state 'interrupted'\); repeat its train command to resume"):
        choose_members(tmp_path, [unfinished.name, members[0].name])


def test_members_are_found_by_name_path_and_unique_beginning(tmp_path: Path, members: list[Member]) -> None:
    chosen = choose_members(tmp_path, ["un", members[0].name])
    assert [member.name for member in chosen] == [members[1].name, members[0].name]
    chosen = choose_members(tmp_path, [member.path for member in members])
    assert [member.path for member in chosen] == [member.path for member in members]


def test_an_unknown_member_is_answered_with_a_suggestion(tmp_path: Path, members: list[Member]) -> None:
    wrong = members[1].name.replace("unet", "uent")
    with pytest.raises(UnknownName, match=f"unknown member '{wrong}'; did you mean '{members[1].name}'"):
        choose_members(tmp_path, [wrong, members[0].name])


def test_a_beginning_of_two_members_is_unknown(tmp_path: Path, members: list[Member], make_member: MakeMember) -> None:
    make_member(tmp_path, "unet", seed=1)
    with pytest.raises(EnsError, match=f"'unet-ce' matches 2 names .*{members[1].name}.*; give more of the name"):
        choose_members(tmp_path, ["unet-ce", "pspnet"])


def test_a_member_given_twice_is_refused(tmp_path: Path, members: list[Member]) -> None:
    text = f"the member {members[1].name} was given twice; give each member once, and use method"
    with pytest.raises(EnsError, match=text):
        choose_members(tmp_path, ["unet", "pspnet", members[1].path])


def test_fewer_than_two_members_are_refused(tmp_path: Path, members: list[Member]) -> None:
    with pytest.raises(
        EnsError,
        match=r"expected at least two members to combine, got 1: name another, or none to combine all",
    ):
        choose_members(tmp_path, ["unet"])
    shutil.rmtree(members[0].path)
    with pytest.raises(EnsError, match=r"got 1 of the newest data set in .*; train another with `ens train`"):
        choose_members(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EnsError, match="to combine, got 0 of the newest data set in"):
        choose_members(tmp_path / "empty")
    with pytest.raises(EnsError, match=r"there is no folder .*elsewhere; train a member with `ens train` first"):
        choose_members(tmp_path / "elsewhere")


def test_members_of_other_runs_are_refused_before_anything_is_written(tmp_path: Path, members: list[Member]) -> None:
    text = f"{members[0].name} is not in .*other.*members, where the ensemble would look for it; pass the folder"
    with pytest.raises(EnsError, match=text):
        combine(members, runs=tmp_path / "other")
    assert not (tmp_path / "other").exists()


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("file", ["config.json", "scores.json", "confusions.npz", "history.csv"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "edited", "empty"])
def test_a_damaged_member_is_reported_by_file(tmp_path: Path, members: list[Member], file: str, damage: str) -> None:
    path = members[0].path / file
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"truncated": content[:-5], "edited": content[:-1] + b"!", "empty": b""}[damage])
    problem = "is missing; remove it with" if damage == "missing" else "differs from what was written"
    with pytest.raises(EnsError, match=f"{members[0].name}.{file} {problem}.*train"):
        choose_members(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "complete"}'])
def test_a_damaged_status_is_reported(tmp_path: Path, members: list[Member], content: str) -> None:
    (members[0].path / "status.json").write_text(content)
    with pytest.raises(EnsError, match=f"{members[0].name}.status.json (is damaged|cannot be read).*again"):
        choose_members(tmp_path, ["pspnet", "unet"])


def test_a_newer_format_is_refused(tmp_path: Path, members: list[Member]) -> None:
    edit_json(members[0].path / "status.json", format_version=3)
    with pytest.raises(EnsError, match="has format 3, but this version reads formats 1 and 2; upgrade ens-toolkit"):
        choose_members(tmp_path)


@pytest.mark.parametrize("damage", ["flipped", "missing", "truncated", "no manifest"])
def test_damaged_probabilities_are_reported_by_name(tmp_path: Path, members: list[Member], damage: str) -> None:
    store = members[1].path / "probabilities" / "validation"
    chunk = store / "chunk-00000.zst"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "flipped":
        chunk.write_bytes(bytes(content))
    elif damage == "truncated":
        chunk.write_bytes(bytes(content[:-3]))
    else:
        (chunk if damage == "missing" else store / "manifest.json").unlink()
    with pytest.raises(EnsError, match=f"{members[1].name}.*{'validation' if damage == 'no manifest' else chunk.name}"):
        combine(members, method="average", runs=tmp_path)
    assert not (tmp_path / "ensembles").exists()


# ---------------------------------------------------------------- combining


def test_mistakes_leave_nothing_behind(tmp_path: Path, members: list[Member]) -> None:
    with pytest.raises(UnknownName, match="unknown method 'lerned'; did you mean 'learned'"):
        combine(members, method="lerned", runs=tmp_path)
    with pytest.raises(EnsError, match="expected 2 weights, one per member, got 3"):
        combine(members, method="weighted(weights=[1, 2, 3])", runs=tmp_path)
    with pytest.raises(EnsError, match="expected at least 11 groups for 11 folds, got 10"):
        combine(members, method="average", runs=tmp_path, folds=11)
    assert not (tmp_path / "ensembles").exists()


# ---------------------------------------------------------------- opening


def test_a_member_is_no_ensemble(members: list[Member]) -> None:
    with pytest.raises(EnsError, match=r"expected an ensemble, got the member .*; combine members first"):
        Ensemble.open(members[0].path)


def test_a_folder_without_status_is_no_ensemble(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"expected the directory of a member or ensemble, got"):
        Ensemble.open(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "scores.json", "confusions.npz"])
@pytest.mark.parametrize("damage", ["missing", "edited"])
def test_a_damaged_ensemble_is_reported_by_file(tmp_path: Path, members: list[Member], file: str, damage: str) -> None:
    path = combine(members, method="average", runs=tmp_path).ensemble.path / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(EnsError, match=f"{path.parent.name}.{file} (is missing|differs)"):
        Ensemble.open(path.parent)


def test_an_ensemble_of_a_newer_format_is_refused(tmp_path: Path, members: list[Member]) -> None:
    path = combine(members, method="average", runs=tmp_path).ensemble.path
    edit_json(path / "status.json", format_version=7)
    with pytest.raises(EnsError, match="has format 7, but this version reads formats 1 and 2; upgrade ens-toolkit"):
        Ensemble.open(path)


def test_an_ensemble_whose_member_is_gone_names_it(tmp_path: Path, members: list[Member]) -> None:
    done = combine(members, method="average", runs=tmp_path).ensemble
    shutil.rmtree(members[0].path)
    with pytest.raises(EnsError, match=f"needs the member {members[0].name}, but .*members does not hold it; copy"):
        Ensemble.open(done.path).members()


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_fitted(
    tmp_path: Path, members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.combining.combine.cross_fit_all", None)  # nothing is fitted
    (tmp_path / "ensembles").touch()
    with pytest.raises(
        EnsError, match=r"expected a folder that can be written for .*ensembles, but .*; choose another"
    ):
        combine(members, method="average", runs=tmp_path)


def test_a_damaged_member_can_be_dropped(tmp_path: Path, members: list[Member], make_member: MakeMember) -> None:
    damaged = make_member(tmp_path, "linknet")
    (damaged.path / "status.json").write_text("{")
    with pytest.raises(EnsError, match=f"{damaged.name}.status.json cannot be read"):
        choose_members(tmp_path)
    chosen = choose_members(tmp_path, drop=["linknet"])
    assert [member.name for member in chosen] == [member.name for member in members]
