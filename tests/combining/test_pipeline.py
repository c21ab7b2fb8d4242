"""The pipeline is fitted as a whole: temperatures, choice of members, method, offsets, and all of it cross-fitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.combining import Pool
from ensemble.combining.alignment import align
from ensemble.combining.combine import combine
from ensemble.combining.crossfit import cross_fit
from ensemble.combining.fit_data import FitData
from ensemble.combining.pipeline import Pipeline, best_members, fit_member_temperatures
from ensemble.combining.serialization import active_members
from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import mean_iou
from ensemble.inference.load import load
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]
MakeWorld = Callable[..., Any]


def simulated(seed: int, sharpness: list[float], pixels: int = 4000, classes: int = 3) -> FitData:
    """Calibrated members on the same pixels, each raised to a power: labels are drawn from their shared truth."""
    random = np.random.default_rng(seed)
    logits = 1.5 * random.normal(size=(classes, pixels))
    true = np.exp(logits) / np.exp(logits).sum(0)
    labels = (true.cumsum(0) < random.random(pixels)).sum(0).clip(max=classes - 1).astype(np.uint8)
    probs = np.stack([true**power / (true**power).sum(0) for power in sharpness]).astype(np.float32)
    return FitData(probs, np.sort(random.integers(0, 20, pixels)).astype(np.int32), labels, np.arange(20) // 2)


# ---------------------------------------------------------------- calibration


def test_planted_temperatures_of_members_are_recovered() -> None:
    one = simulated(0, [0.5, 1.0, 3.0], 40_000)
    np.testing.assert_allclose(fit_member_temperatures(one), [0.5, 1, 3], rtol=0.06)
    pool = Pipeline("average", calibrate="members").fit(one)
    np.testing.assert_allclose(pool.temperatures_m, [0.5, 1, 3], rtol=0.06)
    spread = pool.on_pixels(one) - one.probs_mcp[1]
    assert np.abs(spread).max() < 0.03  # calibrated, the members are the same, and so is their average


def test_a_temperature_after_pooling_is_recovered_and_changes_no_class_map() -> None:
    one = simulated(1, [2.5, 2.5], 20_000)
    plain, warm = Pipeline("average").fit(one), Pipeline("average", calibrate="pool").fit(one)
    assert warm.temperature == pytest.approx(2.5, rel=0.06)
    assert warm.temperatures_m.tolist() == [1, 1]
    assert (warm.on_pixels(one).argmax(0) == plain.on_pixels(one).argmax(0)).all()


def test_both_temperatures_leave_nothing_to_calibrate() -> None:
    one = simulated(2, [0.4, 4.0], 20_000)
    pool = Pipeline("geometric", calibrate="both").fit(one)
    assert pool.temperature == pytest.approx(1, rel=0.1)
    np.testing.assert_allclose(pool.temperatures_m, [0.4, 4], rtol=0.1)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["average", "vote", "learned", "stacking"]))
def test_offsets_move_decisions_never_probabilities(seed: int, method: str) -> None:
    one = simulated(seed, [1.0, 2.0], 300)
    plain, moved = Pipeline(method).fit(one), Pipeline(method, decide="offsets").fit(one)
    assert moved.offsets_c is not None
    probs = plain.on_pixels(one)
    assert (moved.on_pixels(one) == probs).all()
    image = probs[None, :, None]
    unmoved = plain.calibrated(offsets_c=np.zeros(3))
    assert (unmoved.decide(image) == plain.decide(image)).all()
    scores = [mean_iou(one.confusions_gkk(pool.decide(image)[0, 0]).sum(0)) for pool in (plain, moved)]
    assert scores[1] >= scores[0]


# ---------------------------------------------------------------- choosing members


def test_the_best_members_are_kept_in_their_order_and_the_others_idle() -> None:
    one = simulated(3, [1.0, 1.0, 1.0, 1.0], 2000)
    noise = np.random.default_rng(0).dirichlet([1] * 3, 2000).T.astype(np.float32)
    probs = one.probs_mcp.copy()
    probs[0] = probs[2] = noise
    mixed = FitData(probs, one.image_p, one.labels_p, one.group_n)
    assert best_members(mixed, 2) == [1, 3]
    for method in ("average", "vote", "stacking", "learned"):
        pool = Pipeline(method, calibrate="members", top=2).fit(mixed)
        assert pool.temperatures_m[[0, 2]].tolist() == [1, 1]
        assert (pool.weights_m > 0).tolist() == [False, True, False, True]
    assert Pipeline("average", top=9).fit(mixed).weights_m.tolist() == [0.25] * 4


def test_the_choice_of_members_is_made_without_the_fold(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld
) -> None:
    world = make_world(images=12, size=(4, 4), group_size=1)
    noise = [make_member(tmp_path, "noise", seed=seed, quality=0.0, world=world) for seed in range(9)]
    done = cross_fit(align(noise), Pipeline("average", top=2), folds=4)
    chosen = {tuple(np.flatnonzero(pool.weights_m)) for pool in done.fold_pools}
    assert len(chosen) > 1
    assert all(len(each) == 2 for each in chosen)
    in_sample, honest = (mean_iou(tally.confusions_nkk.sum(0)) for tally in (done.in_sample, done.crossfit))
    assert in_sample > honest


def test_a_saved_ensemble_predicts_with_its_active_members_only(tmp_path: Path, make_member: MakeMember) -> None:
    members = [make_member(tmp_path, name, quality=quality) for name, quality in (("a", 0.2), ("b", 2.0), ("c", 1.5))]
    done = combine(members, method="average", top=2, calibrate="members", decide="offsets", runs=tmp_path, folds=4)
    again = Ensemble.open(done.ensemble.path)
    assert (again.settings.top, again.settings.calibrate, again.settings.decide) == (2, "members", "offsets")
    active, pool = active_members(again)
    assert [member.name for member in active] == [members[1].name, members[2].name]
    probs = next(iter(done.aligned.batches()))[1]
    np.testing.assert_allclose(pool(probs[1:]), done.fitted.pool(probs), atol=1e-6)
    assert done.verdict.method == "average, calibrate members, decide offsets, top 2"
    assert "the average" in done.verdict.advice
    with pytest.raises(EnsError, match=r"weights-f0\.safetensors"):  # simulated members have no networks
        load(again.path)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"method": "lerned"}, "unknown method 'lerned'; did you mean 'learned'"),
        ({"method": "learned(objectiv=log-loss)"}, "unknown option 'objectiv' of method 'learned'; did you mean"),
        ({"calibrate": "member"}, "unknown calibration 'member'; did you mean 'members'"),
        ({"decide": "offset"}, "unknown decision 'offset'; did you mean 'offsets'"),
        ({"top": 0}, "expected to keep at least one member, got top 0"),
        ({"method": "weighted(weights=[1, 2])", "top": 2}, "expected either weights or top, got both"),
        ({"method": "greedy(bags)"}, "expected the options of method 'greedy' as name=value, got 'bags'"),
    ],
)
def test_wrong_names_are_answered_with_a_suggestion(fields: Any, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        Pipeline(**fields)


def test_a_pool_of_idle_members_only_keeps_its_parameters() -> None:
    pool = Pool.weighted(np.array([1.0, 0.0, 2.0]), 2)
    assert pool.only([0, 2]).among([0, 2], 3).to_json() == pool.to_json()


@pytest.mark.parametrize("method", ["average", "vote", "geometric", "weighted(weights=[1, 2, 3])"])
def test_what_looks_at_no_image_fits_nothing(method: str) -> None:
    assert not Pipeline(method).fits(3, 4)
    assert not Pipeline(method, calibrate="none", decide="argmax").fits(3, 4)
    assert Pipeline(method, calibrate="pool").fits(3, 4)
    assert Pipeline(method, decide="offsets").fits(3, 4)


@pytest.mark.parametrize(
    "method", ["learned", "learned(objective=soft-miou)", "per-class", "greedy", "stacking", "auto"]
)
def test_what_looks_at_images_fits_something(method: str) -> None:
    assert Pipeline(method).fits(3, 4)
    assert Pipeline("auto").fits(3, 4)
    assert Pipeline("geometric(exponents=learned)").fits(3, 4)
    assert [Pipeline("average", top=top).fits(3, 4) for top in (2, 3)] == [True, False]
