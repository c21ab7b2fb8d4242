"""Removing: what is needed stays, what is trained stays, and nothing outside the runs is ever touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.locks import DirectoryLocked, locked
from ensemble.runs.member import Member
from ensemble.runs.remove import plan_removal, remove, remove_planned

Make = Callable[..., Member]


@pytest.fixture
def runs(make_member: Make, tmp_path: Path) -> Path:
    """Three members; two of them in an ensemble."""
    made = [make_member(tmp_path / "runs", name) for name in ("unet", "linknet", "pspnet")]
    combine(made[:2], method="average", runs=tmp_path / "runs", folds=2)
    return tmp_path / "runs"


def names(runs: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for kind in ("members", "ensembles") for path in (runs / kind).iterdir())


def test_a_member_goes_by_name_beginning_or_path(runs: Path, make_member: Make) -> None:
    (path,) = (runs / "members").glob("pspnet-*")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    for name in (path.name, "psp", path, f"{path}/"):
        make_member(runs, "pspnet")
        planned = plan_removal([name], runs)
        assert (planned.paths, planned.size) == ((path,), size)
        remove_planned(planned)
        assert names(runs) == ["average", "linknet", "unet"]
        assert len(list((runs / "members").iterdir())) == 2  # nothing hidden is left


def test_a_member_that_an_ensemble_needs_stays(runs: Path) -> None:
    (ensemble,) = (runs / "ensembles").iterdir()
    (member,) = (runs / "members").glob("unet-*")
    text = f"the ensemble {ensemble.name} needs the member {member.name}; remove the ensemble first, or name both"
    with pytest.raises(EnsError, match=text):
        plan_removal(["psp", "unet"], runs)
    assert names(runs) == ["average", "linknet", "pspnet", "unet"]
    planned = plan_removal(["unet", "average"], runs)
    assert planned.paths == (ensemble, member)  # the ensemble first: a kill leaves no ensemble without its members
    remove_planned(planned)
    assert names(runs) == ["linknet", "pspnet"]


def test_an_ensemble_that_cannot_be_read_might_need_any_member(runs: Path) -> None:
    (ensemble,) = (runs / "ensembles").iterdir()
    (ensemble / "config.json").write_text("{")
    with pytest.raises(EnsError, match=f"which members the ensemble {ensemble.name} needs, because it is damaged"):
        plan_removal(["pspnet"], runs)
    remove_planned(plan_removal([ensemble.name], runs))
    remove_planned(plan_removal(["pspnet"], runs))


@pytest.mark.parametrize("name", ["", ".", "..", "/", "nothing", "../secret", "{runs}/members/../../secret", "{runs}",
                                  "{runs}/members", "{runs}/members/", "{secret}", "members/..", "~"])  # fmt: skip
def test_nothing_outside_is_ever_meant(
    make_member: Make, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, secret = tmp_path / "runs", tmp_path / "secret"
    make_member(runs)  # one alone, so that a name which means everything means one
    secret.mkdir()
    (secret / "status.json").write_text("{}")
    monkeypatch.chdir(runs)
    with pytest.raises(UnknownName, match="unknown member or ensemble"):
        plan_removal([name.format(runs=runs, secret=secret)], runs)


def test_links_are_not_followed(runs: Path) -> None:
    secret = runs.parent / "secret"
    secret.mkdir()
    (secret / "file").write_text("x")
    link = runs / "members" / "linked"
    link.symlink_to(secret)
    for name in ("linked", link):
        with pytest.raises(EnsError, match=r"linked is a link to .*secret; remove the link or its target yourself"):
            plan_removal([name], runs)
    (member,) = (runs / "members").glob("pspnet-*")
    (member / "inside").symlink_to(secret)
    remove_planned(plan_removal([member], runs))
    assert (secret / "file").read_text() == "x"
    (runs / "members").rename(runs.parent / "elsewhere")
    (runs / "members").symlink_to(runs.parent / "elsewhere")
    with pytest.raises(EnsError, match=r"members is a link to .*elsewhere; give the folder that holds it as runs"):
        plan_removal(["unet"], runs)


def test_the_runs_may_be_reached_by_a_link(runs: Path) -> None:
    (runs.parent / "link").symlink_to(runs)
    (member,) = (runs / "members").glob("pspnet-*")
    assert plan_removal([member], runs.parent / "link").paths == (runs.parent / "link" / "members" / member.name,)


def test_a_member_that_is_being_trained_stays(runs: Path) -> None:
    (member,) = (runs / "members").glob("pspnet-*")
    planned = plan_removal(["pspnet"], runs)
    with locked(member), pytest.raises(DirectoryLocked, match=f"has worked on {member.name}"):
        remove_planned(planned)
    assert Member.open(member)


def test_files_that_a_training_takes_away_are_left_out(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size, walk = plan_removal(["pspnet"], runs).size, os.walk
    found: Callable[[Path], Any] = lambda path: ((one, two, [*files, "gone"]) for one, two, files in walk(path))  # noqa: E731
    monkeypatch.setattr(os, "walk", found)
    assert plan_removal(["pspnet"], runs).size == size > 0


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot rename a directory with an open file")
def test_no_training_starts_before_the_name_is_gone(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, tried = Path.rename, list[Path]()

    def watch(path: Path, target: Path) -> Path:
        with pytest.raises(DirectoryLocked), locked(path):
            pass
        tried.append(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", watch)
    assert remove("pspnet", runs).paths == tuple(tried)
    assert names(runs) == ["average", "linknet", "unet"]


def test_what_a_kill_left_is_swept_up(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(SystemExit):
            remove_planned(plan_removal(["pspnet"], runs))
    (member,) = (runs / "members").glob("pspnet-*")
    assert Member.open(member)
    member.rename(member.with_name(f".{member.name}.removed"))  # as if the kill had come a little later
    remove_planned(plan_removal(["average"], runs))
    remove_planned(plan_removal(["linknet"], runs))
    assert names(runs) == ["unet"]


def test_what_cannot_be_removed_is_told(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    planned = plan_removal(["pspnet"], runs)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(EnsError, match=r"cannot remove .*pspnet.*: Permission denied; remove it yourself"):
        remove_planned(planned)


def test_names_are_enough_from_python(runs: Path) -> None:
    with pytest.raises(EnsError, match="remove the ensemble first, or name both"):
        remove("unet", runs)
    removal = remove(["average", "unet"], runs)
    assert len(removal.paths) == 2
    assert not any(path.exists() for path in removal.paths)
