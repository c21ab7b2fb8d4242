"""The explanation of an ensemble against the scores of its members and plain computations on their stores."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ensemble
from ensemble.combining.alignment import align
from ensemble.core.errors import EnsError
from ensemble.evaluation import expected_calibration_error, reliability
from ensemble.evaluation.caveats import too_few_groups
from ensemble.explanation import statistics as module
from ensemble.explanation.explain import explain
from ensemble.explanation.result import Explanation
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]
MakeWorld = Callable[..., Any]


@pytest.fixture(scope="module")
def members(make_member: MakeMember, make_world: MakeWorld, tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    """Three members of different quality, for tests that only read."""
    runs, world = tmp_path_factory.mktemp("explained"), make_world(images=24)
    return [make_member(runs, f"net{i}", quality=0.8 + 0.6 * i, world=world) for i in range(3)]


@pytest.fixture(scope="module")
def path(members: list[Member]) -> Path:
    """The uniform average of them."""
    runs = members[0].path.parents[1]
    return ensemble.combine([one.name for one in members], method="average", runs=runs).ensemble.path


@pytest.fixture(scope="module")
def found(path: Path) -> Explanation:
    """Its explanation, which no test changes."""
    return explain(path)


@pytest.fixture
def own_runs(path: Path, tmp_path: Path) -> Path:
    """Members and average in runs that a test may change."""
    return Path(shutil.copytree(path.parents[1], tmp_path / "own"))


def row(table: Any, key: str, value: str) -> dict[str, Any]:
    (found,) = table[table[key] == value].to_dict("records")
    return found


def test_scores_are_those_of_members_and_of_the_average(found: Explanation, members: list[Member], path: Path) -> None:
    for member in members:
        mine = row(found.systems, "system", member.name)
        assert mine["miou"] == pytest.approx(member.scores["miou"])
        assert mine["pixel_accuracy"] == pytest.approx(member.scores["pixel_accuracy"])
        for name, iou in member.scores["iou"].items():
            assert mine[f"iou {name}"] == pytest.approx(iou)
    average, *pooled = (row(found.systems, "system", name) for name in ("average", "ensemble", "ensemble in-sample"))
    for one in pooled:  # nothing was fitted
        assert {key: one[key] for key in one if key != "system"} == pytest.approx(
            {key: average[key] for key in average if key != "system"}
        )
    assert average["miou"] == pytest.approx(Ensemble.open(path).scores["miou"])
    names = [*found.members, "average", "ensemble", "ensemble in-sample", "oracle"]
    assert found.systems["system"].tolist() == names
    assert np.argmax(found.systems["miou"].to_numpy()) == len(names) - 1


def test_a_fitted_ensemble_is_shown_cross_fitted_beside_in_sample(own_runs: Path) -> None:
    scores = (done := ensemble.combine(method="learned", runs=own_runs)).ensemble.scores
    found = explain(done.ensemble)
    assert row(found.systems, "system", "ensemble")["miou"] == pytest.approx(scores["miou"])
    assert row(found.systems, "system", "ensemble in-sample")["miou"] == pytest.approx(scores["in_sample"]["miou"])
    assert row(found.log_loss, "class", "all")["ensemble"] == pytest.approx(scores["in_sample"]["log_loss"], rel=1e-5)
    assert found.method == "learned"


def test_log_loss_is_that_of_the_members(found: Explanation, members: list[Member], path: Path) -> None:
    whole = row(found.log_loss, "class", "all")
    assert whole["members"] == pytest.approx(np.mean([one.scores["log_loss"] for one in members]), rel=1e-3)  # 8 bits
    assert whole["average"] == pytest.approx(Ensemble.open(path).scores["log_loss"], rel=1e-5)
    assert whole["ensemble"] == pytest.approx(whole["average"], rel=1e-5)
    assert whole["geometric"] == pytest.approx(whole["members"] - whole["diversity"])
    assert whole["pixels"] == found.log_loss["pixels"][1:].sum()


def test_pairs_equal_plain_counts_on_the_stores(found: Explanation, members: list[Member]) -> None:
    batches = list(align(members).batches())
    labels = np.concatenate([part[2] for part in batches])
    decided = np.concatenate([part[1].argmax(2) for part in batches], axis=1)[:, labels != 255]
    wrong = decided != labels[labels != 255]
    assert len(found.pairwise) == 3
    for pair in found.pairwise.to_dict("records"):
        one, other = (found.members.index(pair[key]) for key in ("member", "other"))
        assert pair["disagreement"] == pytest.approx((decided[one] != decided[other]).mean())
        assert pair["double_fault"] == pytest.approx((wrong[one] & wrong[other]).mean())
        assert pair["error_correlation"] == pytest.approx(np.corrcoef(wrong)[one, other])
    assert found.pairwise["disagreement"].is_monotonic_increasing


def test_a_whole_sample_gives_the_score_of_the_average_and_shapley_adds_up(found: Explanation) -> None:
    assert found.sampled == found.pairs.pixels  # so few pixels are taken in whole
    everyone, nobody = found.contribution.everyone, found.contribution.nobody
    assert everyone[0] == pytest.approx(row(found.systems, "system", "average")["miou"], rel=1e-5)
    table = found.contributions
    assert table.groupby(["measure", "target"]).size().to_dict() == {
        (measure, target): 3 for measure in ("shapley", "leave-one-out") for target in ("miou", *found.classes)
    }
    total = [one["value"] for one in table.query("measure == 'shapley' and target == 'miou'").to_dict("records")]
    assert sum(total) == pytest.approx(everyone[0] - nobody[0])
    assert found.dropping["dropped"].tolist()[0] == found.members[0]  # the worst goes first
    assert found.dropping["parameters_left"].tolist() == [2000, 1000]
    assert found.dropping["training_seconds_left"].tolist() == [5.0, 2.5]


def test_uncertainty_ranks_the_errors_of_the_ensemble(found: Explanation) -> None:
    wrong = 1 - row(found.systems, "system", "ensemble in-sample")["pixel_accuracy"]
    for score in found.uncertainty.to_dict("records"):
        assert score["chance_aurc"] == pytest.approx(wrong)
        assert score["best_aurc"] < score["aurc"] < wrong
        assert 0.05 < score["errors_in_top_5%"] < score["errors_in_top_30%"] <= 1
    assert found.uncertainty["score"].tolist() == ["entropy", "mutual information", "1 - confidence"]


def test_temperatures_are_fitted_on_other_images_and_calibrate(tmp_path: Path, make_member: MakeMember) -> None:
    make_member(tmp_path, "honest", quality=1.0)
    honest = make_member(tmp_path, "other", quality=1.0, seed=1)
    probs = np.concatenate([part[1] for part in honest.store().batches()])
    sure = probs**4 / (probs**4).sum(1, keepdims=True)
    bold = make_member(tmp_path, "bold", probs=sure)
    done = ensemble.combine(method="average", runs=tmp_path).ensemble
    found = explain(done)
    mine, theirs = (row(found.calibration, "system", one.name) for one in (bold, honest))
    assert mine["temperature"] == pytest.approx(4 * theirs["temperature"], rel=0.1)  # as clipping and codes allow
    assert mine["ece_after"] < 0.5 * mine["ece"]
    assert mine["log_loss_after"] < mine["log_loss"]
    assert mine["log_loss_after"] == pytest.approx(theirs["log_loss_after"], rel=0.05)
    assert theirs["log_loss"] == pytest.approx(honest.scores["log_loss"], rel=1e-3)
    labels = np.concatenate([part[2] for part in align([honest]).batches()])
    assert theirs["ece"] == pytest.approx(expected_calibration_error(reliability(probs, labels)))


def test_any_batch_size_gives_the_same(path: Path, found: Explanation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 5)
    again = explain(path)
    for name, table in found.tables.items():
        for column in table:
            if table[column].dtype == float:
                np.testing.assert_allclose(table[column], again.tables[name][column], rtol=1e-6, atol=1e-7)
            else:
                assert table[column].tolist() == again.tables[name][column].tolist()
    assert [one.id for one in again.images] == [one.id for one in found.images]


def test_a_smaller_sample_is_of_all_classes_and_said(path: Path, found: Explanation) -> None:
    small = explain(path, sample=200)
    assert small.sampled <= 200
    assert small.systems.equals(found.systems)  # counts are over all pixels
    assert abs(small.contribution.everyone[0] - found.contribution.everyone[0]) < 0.15


def test_images_are_those_disputed_most_with_maps_where_labelled(found: Explanation, members: list[Member]) -> None:
    assert len(found.images) == 4
    sums = [np.nansum(one.information_hw) for one in found.images]
    assert sums == sorted(sums, reverse=True)
    labels = dict(zip(members[0].store().ids, np.concatenate([p[2] for p in align(members).batches()]), strict=True))
    for one in found.images:
        np.testing.assert_array_equal(one.labels_hw, labels[one.id])
        np.testing.assert_array_equal(np.isnan(one.entropy_hw), one.labels_hw == 255)
        assert np.nanmax(one.entropy_hw) <= math.log(4) + 1e-5


def test_the_sentence_says_what_the_tables_say(found: Explanation) -> None:
    systems = found.systems.set_index("system")["miou"]
    gain = 100 * (systems["average"] - systems[list(found.members)].max())
    assert f" {abs(gain):.1f} points of mIoU " in found.sentence
    assert ("gains" in found.sentence) == (gain >= 0)
    limits = found.scores["verdict"]["differences"]["average - member"]
    assert limits["difference"] == pytest.approx(gain / 100)
    interval = f"best member on these images ({100 * limits['low']:+.1f} to {100 * limits['high']:+.1f})"
    assert interval in found.sentence
    assert (f"{interval}, which is within noise" in found.sentence) == (limits["low"] <= 0 <= limits["high"])
    assert f"{100 * systems['oracle']:.1f} %" in found.sentence
    spare = [found.members[member] for member in found.contribution.spare]
    assert ("could be dropped" in found.sentence) == bool(spare)
    assert found.sentence.endswith("of the ensemble's errors.")


def test_one_group_has_no_interval_but_an_explanation(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld
) -> None:
    made = [make_member(tmp_path, f"net{i}", world=make_world(images=6, group_size=3)) for i in range(2)]
    path = ensemble.combine([one.name for one in made], method="average", runs=tmp_path).ensemble.path
    found = explain(path)
    assert np.isfinite(found.contributions["value"]).all()
    assert len(found.images) == 4


def test_too_few_groups_have_no_interval_and_no_yes_or_no(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld
) -> None:
    made = [make_member(tmp_path, f"net{i}", world=make_world(images=6, group_size=3)) for i in range(2)]
    path = ensemble.combine([one.name for one in made], method="average", runs=tmp_path).ensemble.path
    found = explain(path)
    assert found.contributions[["low", "high"]].isna().to_numpy().all()
    assert found.dropping[["low", "high", "no_loss"]].isna().to_numpy().all()
    assert "(no interval from so few images);" in found.sentence
    assert found.sentence.endswith(too_few_groups(2))
    for statement in ("noise", "dropped", "contributes most", "nan"):
        assert statement not in found.sentence


def test_mistakes_are_one_sentence(own_runs: Path, path: Path, members: list[Member]) -> None:
    with pytest.raises(EnsError, match=r"expected an ensemble, got the member"):
        explain(members[0].path)
    with pytest.raises(EnsError, match=r"expected the directory of a member or ensemble, got"):
        explain(own_runs / "nothing")
    shutil.rmtree(own_runs / "members" / members[1].name)
    with pytest.raises(EnsError, match=members[1].name):
        explain(own_runs / "ensembles" / path.name)


def test_images_without_labels_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ensemble.combining.alignment import Aligned
    from ensemble.evaluation.strips import PredictedBatch

    def void(self: Aligned, size: int = 8, halo: int = 1) -> Any:
        probs, labels = np.full((3, 2, 4, 6, 8), 0.25, np.float32), np.full((2, 6, 8), 255, np.uint8)
        yield PredictedBatch(slice(0, 2), probs, labels)

    monkeypatch.setattr(Aligned, "batches", void)
    with pytest.raises(EnsError, match="expected labelled pixels to sample, got none"):
        explain(path)
