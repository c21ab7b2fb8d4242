"""Ensembles on disk: which members are taken, what is written, and every damage reported by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining.alignment import align
from ensemble.combining.combine import combine, find_ensemble
from ensemble.combining.crossfit import cross_fit
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.serialization import read_pool
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import sealed
from ensemble.evaluation.confusion import mean_iou
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member
from ensemble.runs.select import choose_members

MakeMember = Callable[..., Member]
MakeWorld = Callable[..., Any]


@pytest.fixture
def members(tmp_path: Path, make_member: MakeMember) -> list[Member]:
    """Two members, the second one better."""
    return [
        make_member(tmp_path, "pspnet", quality=1.0, finished="2026-11-01T10:00:00+00:00"),
        make_member(tmp_path, "unet", quality=2.0, finished="2026-11-01T11:00:00+00:00"),
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "status.json"}


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


@pytest.mark.parametrize(
    ("method", "name"), [("average",) * 2, ("weighted(weights=[1, 3])", "weighted"), ("learned",) * 2]
)
def test_saving_and_opening_gives_the_same_ensemble(
    tmp_path: Path, members: list[Member], method: str, name: str
) -> None:
    done = combine(members, method=method, runs=tmp_path, folds=4, seed=3)
    again = Ensemble.open(done.ensemble.path)
    assert again.path.parent == tmp_path / "ensembles"
    assert again.name.startswith(f"{name}-2-")
    assert read_pool(again).to_json() == done.fitted.pool.to_json()
    assert again.settings == done.ensemble.settings
    assert again.classes == done.aligned.classes
    assert (again.settings.method, again.settings.crossfit_folds, again.settings.seed) == (name, 4, 3)
    assert (done.fitted.fold_n == cross_fit(done.aligned, Pipeline(method), folds=4, seed=3).fold_n).all()
    assert [member.name for member in again.members()] == [member.name for member in members]
    for _, probs, *_ in align(again.members()).batches():
        assert (read_pool(again)(probs) == done.fitted.pool(probs)).all()


def test_what_is_written_is_what_was_found(tmp_path: Path, make_member: MakeMember) -> None:
    qualities = {"pspnet": (2.5, 0.5, 1.0, 0.5), "unet": (0.5, 3.0, 2.5, 2.0)}
    members = [make_member(tmp_path, name, quality=quality) for name, quality in qualities.items()]
    done = combine(members, method="learned", runs=tmp_path)
    scores, fitted = done.ensemble.scores, done.fitted
    assert scores["miou"] == pytest.approx(float(mean_iou(fitted.crossfit.confusions_nkk.sum(0))))
    assert scores["in_sample"]["miou"] == pytest.approx(float(mean_iou(fitted.in_sample.confusions_nkk.sum(0))))
    pixels = fitted.crossfit.confusions_nkk.sum()
    assert scores["log_loss"] == pytest.approx(fitted.crossfit.log_loss_n.sum() / pixels, rel=1e-9)
    assert scores["in_sample"]["log_loss"] < scores["log_loss"]
    miou = {
        "method": scores["miou"],
        "average": float(mean_iou(fitted.average.confusions_nkk.sum(0))),
        "best member": float(mean_iou(fitted.members_mnkk[1].sum(0))),  # the same one on every fold
        "member": float(mean_iou(fitted.members_mnkk[1].sum(0))),
    }
    assert len(set(miou.values())) == 3
    for title, difference in done.verdict.differences.items():
        first, second = title.split(" - ")
        assert difference.difference == pytest.approx(miou[first] - miou[second])
    assert scores["protocol"] == "cross-fitted over 5 folds"
    assert scores["data"] == "gone.npz"
    assert scores["verdict"] == json.loads(json.dumps(done.verdict.to_json()))
    assert done.verdict.best_member == members[1].name
    assert scores["miou_low"] < scores["miou"] < scores["miou_high"]
    with np.load(done.ensemble.path / "confusions.npz") as archive:
        assert (archive["confusions"] == fitted.crossfit.confusions_nkk).all()
    assert fitted.pool.weights_m[1] > fitted.pool.weights_m[0]


def test_scores_are_those_of_a_member_and_more(tmp_path: Path, members: list[Member]) -> None:
    done = combine(members, method="average", runs=tmp_path)
    assert set(done.ensemble.scores) - set(members[0].scores) == {"in_sample", "verdict", "quality", "data"}
    assert set(members[0].scores) <= set(done.ensemble.scores)
    with np.load(done.ensemble.path / "confusions.npz") as archive:
        tables = done.fitted.crossfit.arrays()
        by_class = {"reliability_per_class", "brier_per_class", "boundary", "objects"}
        assert set(tables) == {"confusions", "log_loss", "brier", "reliability"} | by_class
        assert set(archive) == {*tables, "fold", "quality"}
        assert (archive["fold"] == done.fitted.fold_n).all()
        assert all((archive[name] == table).all() for name, table in tables.items())


@pytest.mark.parametrize(
    ("flags", "expected"),
    [((False, False), False), ((False, True), True), ((None, True), True), ((False, None), None)],
)
def test_an_epoch_chosen_for_a_member_is_chosen_for_the_ensemble(
    tmp_path: Path, members: list[Member], flags: tuple[bool | None, ...], expected: bool | None
) -> None:
    for member, flag in zip(members, flags, strict=True):
        member.scores["selected"] = flag
    assert combine(members, method="average", runs=tmp_path).ensemble.scores["selected"] is expected


def test_combining_twice_changes_nothing(tmp_path: Path, members: list[Member]) -> None:
    first = combine(members, method="learned", runs=tmp_path).ensemble
    before = contents(first.path)
    second = combine(members, method="learned", runs=tmp_path).ensemble
    assert second.path == first.path
    assert contents(second.path) == before
    assert len(list((tmp_path / "ensembles").iterdir())) == 1


def test_what_other_commands_made_stays_while_the_ensemble_is_the_same(
    tmp_path: Path, members: list[Member], make_member: MakeMember
) -> None:
    path = combine(members, method="average", runs=tmp_path).ensemble.path
    (path / "explain").mkdir()
    (path / "explain" / "pairs.csv").write_text("a,b")
    (path / "examples.png").write_bytes(b"picture")
    same = combine(members, method="average", runs=tmp_path)
    assert same.removed == ()
    assert (path / "explain" / "pairs.csv").read_text() == "a,b"
    assert (path / "examples.png").read_bytes() == b"picture"
    (_, probs, _) = next(members[0].store().batches(1000))
    shutil.rmtree(members[0].path)
    changed = make_member(tmp_path, members[0].settings.architecture.name, probs=probs[:, [1, 0, 2, 3]])
    again = combine([changed, members[1]], method="average", runs=tmp_path)
    assert again.ensemble.path == path
    assert again.removed == ("examples.png", "explain")
    assert not (path / "explain").exists()
    assert not (path / "examples.png").exists()


def test_other_settings_make_another_ensemble(tmp_path: Path, members: list[Member], make_member: MakeMember) -> None:
    three = [*members, make_member(tmp_path, "linknet")]
    names = {
        combine(members, method="average", runs=tmp_path).ensemble.name,
        combine(members, method="average", runs=tmp_path, folds=3).ensemble.name,
        combine(members, method="weighted(weights=[1, 2])", runs=tmp_path).ensemble.name,
        combine(members, method="weighted(weights=[2, 1])", runs=tmp_path).ensemble.name,
        combine(three, method="average", runs=tmp_path).ensemble.name,
    }
    assert len(names) == 5


def test_whole_and_decimal_weights_are_the_same_ensemble(tmp_path: Path, members: list[Member]) -> None:
    whole = combine(members, method="weighted(weights=[1, 2])", runs=tmp_path).ensemble
    decimal = combine(members, method="weighted(weights=[1.0, 2.0])", runs=tmp_path).ensemble
    assert whole.path == decimal.path


def test_mistakes_leave_nothing_behind(tmp_path: Path, members: list[Member]) -> None:
    with pytest.raises(UnknownName, match="unknown method 'lerned'; did you mean 'learned'"):
        combine(members, method="lerned", runs=tmp_path)
    with pytest.raises(EnsError, match="expected 2 weights, one per member, got 3"):
        combine(members, method="weighted(weights=[1, 2, 3])", runs=tmp_path)
    with pytest.raises(EnsError, match="expected at least 11 groups for 11 folds, got 10"):
        combine(members, method="average", runs=tmp_path, folds=11)
    assert not (tmp_path / "ensembles").exists()


def test_the_keras_reading_follows_the_background(tmp_path: Path, make_member: MakeMember) -> None:
    inside = [make_member(tmp_path, name, background="class", quality=0.5) for name in ("a", "b")]
    scores = combine(inside, method="average", runs=tmp_path).ensemble.scores
    assert scores["miou_keras"] != pytest.approx(scores["miou"])
    mixed = [inside[0], make_member(tmp_path, "c", background="void", quality=0.5)]
    scores = combine(mixed, method="average", runs=tmp_path).ensemble.scores
    assert scores["miou_keras"] == pytest.approx(scores["miou"])
    assert list(scores["iou"]) == ["soil", "bedrock", "sand", "big rock"]


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


def test_few_groups_are_folds_of_their_own(
    tmp_path: Path, make_member: Callable[..., Member], make_world: Callable[..., Any]
) -> None:
    few = make_world(images=6, group_size=2)
    members = [make_member(tmp_path, name, world=few) for name in ("unet", "pspnet")]
    done = combine(members, method="average", runs=tmp_path)
    assert done.ensemble.settings.crossfit_folds == 3
    assert done.ensemble.scores["protocol"] == "cross-fitted over 3 folds"


def test_one_group_cannot_be_fitted_and_scored(
    tmp_path: Path, make_member: Callable[..., Member], make_world: Callable[..., Any]
) -> None:
    one = make_world(images=2, group_size=2)
    members = [make_member(tmp_path, name, world=one) for name in ("unet", "pspnet")]
    with pytest.raises(EnsError, match="validation images of at least 2 groups, to fit on some and score on others"):
        combine(members, method="average", runs=tmp_path)


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_fitted(
    tmp_path: Path, members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.combining.combine.cross_fit_all", None)  # nothing is fitted
    (tmp_path / "ensembles").touch()
    with pytest.raises(
        EnsError, match=r"expected a folder that can be written for .*ensembles, but .*; choose another"
    ):
        combine(members, method="average", runs=tmp_path)


def test_a_killed_or_failed_command_leaves_no_half_ensemble(
    tmp_path: Path, members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise EnsError("cannot write scores.json: No space left on device")

    monkeypatch.setattr("ensemble.combining.combine.finish_run", full)
    with pytest.raises(EnsError, match="No space left"):
        combine(members, method="average", runs=tmp_path)
    assert list((tmp_path / "ensembles").iterdir()) == []


def test_a_member_that_changed_is_combined_again(
    tmp_path: Path, members: list[Member], make_member: MakeMember
) -> None:
    pipeline = Pipeline("average")
    made = combine(members, method="average", runs=tmp_path).ensemble
    assert find_ensemble(members, pipeline, tmp_path) == made
    (_, probs, _) = next(members[0].store().batches(1000))
    shutil.rmtree(members[0].path)
    again = make_member(tmp_path, members[0].settings.architecture.name, probs=probs[:, [1, 0, 2, 3]])
    assert again.name == members[0].name
    assert find_ensemble([again, members[1]], pipeline, tmp_path) is None


def test_a_damaged_member_can_be_dropped(tmp_path: Path, members: list[Member], make_member: MakeMember) -> None:
    damaged = make_member(tmp_path, "linknet")
    (damaged.path / "status.json").write_text("{")
    with pytest.raises(EnsError, match=f"{damaged.name}.status.json cannot be read"):
        choose_members(tmp_path)
    chosen = choose_members(tmp_path, drop=["linknet"])
    assert [member.name for member in chosen] == [member.name for member in members]
