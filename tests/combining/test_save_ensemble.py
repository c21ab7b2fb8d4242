"""An ensemble on disk holds what was found, and keeps what other commands made if it is the same again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining.alignment import align
from ensemble.combining.combine import combine
from ensemble.combining.crossfit import cross_fit
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.serialization import read_pool
from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import mean_iou
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "status.json"}


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


def test_the_keras_reading_follows_the_background(tmp_path: Path, make_member: MakeMember) -> None:
    inside = [make_member(tmp_path, name, background="class", quality=0.5) for name in ("a", "b")]
    scores = combine(inside, method="average", runs=tmp_path).ensemble.scores
    assert scores["miou_keras"] != pytest.approx(scores["miou"])
    mixed = [inside[0], make_member(tmp_path, "c", background="void", quality=0.5)]
    scores = combine(mixed, method="average", runs=tmp_path).ensemble.scores
    assert scores["miou_keras"] == pytest.approx(scores["miou"])
    assert list(scores["iou"]) == ["soil", "bedrock", "sand", "big rock"]


def test_a_killed_or_failed_command_leaves_no_half_ensemble(
    tmp_path: Path, members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise EnsError("cannot write scores.json: No space left on device")

    monkeypatch.setattr("ensemble.combining.save_ensemble.finish_run", full)
    with pytest.raises(EnsError, match="No space left"):
        combine(members, method="average", runs=tmp_path)
    assert list((tmp_path / "ensembles").iterdir()) == []
