"""The verdict on a budget or a cascade is recomputed with the full ensemble that it is against."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining.budget import Budget
from ensemble.combining.cascade import Cascade
from ensemble.combining.combine import combine
from ensemble.combining.recompute import recompute, recompute_runs
from ensemble.combining.serialization import load_combiner
from ensemble.core.files import read_json
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.folder import find_run
from ensemble.runs.member import Member
from ensemble.runs.verify import verify

Edit = Callable[..., None]
KINDS = ("budget", "cascade")


@pytest.fixture(scope="module")
def combined(
    make_member: Callable[..., Member], make_world: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Three members, of which a budget leaves the best one out, and a cascade of which some images need only one."""
    runs, world = tmp_path_factory.mktemp("cheaper") / "runs", make_world(30)
    names = ("unet", "linknet", "pspnet")
    members = [
        make_member(runs, name, quality=1 + 0.4 * m, world=world, resamples=10_000) for m, name in enumerate(names)
    ]
    budget = Budget(9, "ms", {member.name: cost for member, cost in zip(members, (3.0, 4.0, 20.0), strict=True)})
    combine(runs=runs, method="geometric", within=budget, calibrate="pool", decide="expected-iou", folds=3)
    made = combine(runs=runs, method="learned", keep_gain=0.8, smallest_object="auto", folds=3)
    assert isinstance(made.fitted.pool, Cascade)
    assert max(made.fitted.pool.thresholds) > 0  # some images may stop
    return runs


@pytest.fixture
def runs(combined: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(combined, tmp_path / "runs"))


def path_of(runs: Path, kind: str) -> Path:
    return find_run({"budget": "geometric", "cascade": "learned"}[kind], runs)


def cells(path: Path) -> set[str]:
    return {difference.cell for difference in recompute(path) or []}


def test_nothing_differs_as_they_were_written(runs: Path) -> None:
    found = recompute_runs(runs)
    assert (found.runs, found.differences, found.without_rival, found.failed) == (5, [], [], [])
    for kind in KINDS:
        ensemble = Ensemble.open(path_of(runs, kind))
        assert len(ensemble.rival_pools) == 1 + len(ensemble.fold_pools)
        rival = load_combiner(ensemble.rival_pools[0])
        assert not isinstance(rival, Cascade)
        assert set(rival.used) >= set(load_combiner(ensemble.pool).used)
        assert ensemble.scores["verdict"]["rival"] == "the full ensemble"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("title", ["method - average", "average - member"])
def test_an_edited_difference_to_the_full_ensemble_is_named(runs: Path, kind: str, title: str, edit_json: Edit) -> None:
    path = path_of(runs, kind)

    def won(scores: dict[str, Any]) -> None:
        scores["verdict"]["differences"][title]["low"] += 1e-8
        scores["verdict"]["per_class"][title]["sand"]["difference"] = 0.5
        scores["verdict"]["rival"] = "the average"

    edit_json(path, won)
    assert verify(runs).problems == []  # the checksums match
    expected = {f"differences, {title}, low", f"per_class, {title}, sand, difference", "rival"}
    assert cells(path) == {f"verdict, {cell}" for cell in expected}


@pytest.mark.parametrize(
    ("kind", "change", "cell"),
    [
        ("budget", lambda found: found.update(full_cost=23.0), "budget, full_cost"),
        ("budget", lambda found: found.update(left_out=[]), "budget, left_out"),
        ("budget", lambda found: found.update(limit=90.0), "budget"),
        ("budget", lambda found: found["costs"].popitem(), "budget"),
        ("budget", lambda found: found["costs"].update(dict.fromkeys(found["costs"], 99.0)), "budget"),
        ("budget", lambda found: found.clear(), "budget"),
        ("cascade", lambda found: found.update(gain=found["gain"] * 2), "cascade, gain"),
        ("cascade", lambda found: found["kept"].update(low=0.9999), "cascade, kept, low"),
        ("cascade", lambda found: found["evaluations"].update(share=0.34), "cascade, evaluations, share"),
        ("cascade", lambda found: found.update(proven=not found["proven"]), "cascade, proven"),
    ],
)
def test_edited_savings_are_named(
    runs: Path, kind: str, change: Callable[[Any], Any], cell: str, edit_json: Edit
) -> None:
    path = path_of(runs, kind)
    edit_json(path, lambda scores: change(scores[kind]))
    assert cells(path) == {cell}


@pytest.mark.parametrize(
    ("kind", "table"),
    [("budget", "rival_confusions"), ("cascade", "rival_confusions"), ("cascade", "stage_entropy")],
)
def test_edited_tables_are_named(runs: Path, kind: str, table: str, edit_tables: Edit) -> None:
    path, before = path_of(runs, kind), path_of(runs, kind) / "confusions.npz"
    assert np.load(before)[table].shape[0] == 30
    edit_tables(path, **{table: lambda values: np.multiply(values[4], 2, out=values[4])})
    assert cells(path) == {f"the table {table} of 1 images (sum of image 4)"}


def test_edited_thresholds_are_named(runs: Path, edit_json: Edit) -> None:
    path = path_of(runs, "cascade")
    edit_json(path, lambda config: config["pool"]["thresholds"].__setitem__(0, 1e3), "config.json")
    assert "cascade, evaluations, share" in cells(path)


def test_an_edited_score_of_a_cascade_is_named(runs: Path, edit_json: Edit) -> None:
    path = path_of(runs, "cascade")
    edit_json(path, lambda scores: scores.update(miou=scores["miou"] + 0.01))
    assert cells(path) == {"miou"}


def test_the_verdict_of_an_earlier_version_is_not_recomputed_and_its_scores_are(runs: Path, edit_json: Edit) -> None:
    for kind in KINDS:
        path = path_of(runs, kind)
        edit_json(path, lambda config: config.pop("rival_pools"), "config.json")
        edit_json(path, lambda scores: scores["verdict"].update(use="the moon"))
    found = recompute_runs(runs)
    assert (found.runs, found.differences) == (5, [])
    assert found.without_rival == [path_of(runs, kind).name for kind in KINDS]
    edit_json(path_of(runs, "budget"), lambda scores: scores.update(dice=0.875))
    assert [difference.cell for difference in recompute_runs(runs).differences] == ["dice"]


def test_few_groups_promise_nothing_and_are_recomputed(
    make_member: Callable[..., Member], make_world: Callable[..., Any], tmp_path: Path
) -> None:
    world = make_world(8)
    members = [make_member(tmp_path, name, world=world) for name in ("unet", "linknet")]
    path = combine(members, method="average", keep_gain=0.9, folds=2, runs=tmp_path).ensemble.path
    assert read_json(path / "scores.json")["cascade"]["kept"]["low"] is None
    assert recompute(path) == []
