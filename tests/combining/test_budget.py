"""Members within a budget: against brute force over all subsets, cross-fitted, judged, and refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from ensemble.combining import best_subset as search
from ensemble.combining.alignment import align
from ensemble.combining.best_subset import best_subset, best_subset_by_miou
from ensemble.combining.budget import Budget, parse_limit
from ensemble.combining.combine import Combination, combine
from ensemble.combining.convex_weights import fit_convex_weights, log_loss
from ensemble.combining.crossfit import cross_fit
from ensemble.combining.fit_data import FitData, gather_fit_data
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.serialization import active_members
from ensemble.core.errors import EnsError
from ensemble.runs.member import Member

Make = Callable[..., Any]
QUALITIES = (0.5, 1.0, 1.5, 2.0)


def true_probs(seed: int, members: int, pixels: int = 3000) -> Any:
    """Members of different quality that share most errors."""
    random = np.random.default_rng(seed)
    shared, quality = random.normal(size=pixels), random.uniform(0.2, 1.6, members)
    logits = 1 + 1.2 * shared[:, None] + quality + 1.2 * random.normal(size=(pixels, members))
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def best_loss(probs_pm: Any, places: Any) -> float:
    part = probs_pm[:, list(places)]
    return log_loss(part, fit_convex_weights(part))


def allowed_subsets(costs: Any, limit: float) -> list[tuple[int, ...]]:
    members = range(len(costs))
    every = [places for size in range(1, len(costs) + 1) for places in combinations(members, size)]
    return [places for places in every if costs[list(places)].sum() <= limit]


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_best_of_all_subsets(seed: int) -> None:
    random, members = np.random.default_rng(seed + 100), 6
    probs, costs = true_probs(seed, members), random.uniform(1, 10, members)
    limit = random.uniform(costs.min(), costs.sum())
    found = best_subset(probs, costs, limit)
    allowed = allowed_subsets(costs, limit)
    assert costs[found].sum() <= limit
    assert best_loss(probs, found) <= min(best_loss(probs, places) for places in allowed) + 2e-6


def test_a_search_that_gives_up_still_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FITS", 0)
    costs = np.array([3.0, 4.0, 5.0, 6.0, 7.0])
    found = best_subset(true_probs(1, 5), costs, 9.0)
    assert found
    assert costs[found].sum() <= 9


def pixels_of(seed: int, members: int, sharpness: Any = 1.0, pixels: int = 3000) -> FitData:
    """Members of different quality, on three classes of which one is rare; ``sharpness`` changes no decision."""
    random = np.random.default_rng(seed)
    labels_p = random.choice(3, pixels, p=[0.6, 0.37, 0.03]).astype(np.uint8)
    is_true_cp = labels_p == np.arange(3)[:, None]
    quality_m11, shared_cp = random.uniform(0.5, 2.5, (members, 1, 1)), random.normal(size=(3, pixels))
    logits = quality_m11 * is_true_cp + shared_cp + random.normal(size=(members, 3, pixels))
    logits *= np.broadcast_to(sharpness, members)[:, None, None]
    probs = np.exp(logits - logits.max(1, keepdims=True))
    image_p = (np.arange(pixels) // 100).astype(np.int32)
    probs = (probs / probs.sum(1, keepdims=True)).astype(np.float32)
    return FitData(probs, image_p, labels_p, np.arange(image_p.max() + 1))


def miou_of(fit_data: FitData, places: Any) -> float:
    weights = fit_convex_weights(fit_data.true_probs_pm[:, list(places)])
    decided_p = np.tensordot(weights.astype(np.float32), fit_data.probs_mcp[list(places)], 1).argmax(0)
    cells = confusion_matrix(fit_data.labels_p, decided_p, labels=range(fit_data.classes))
    return float(np.mean(np.diag(cells) / (cells.sum(0) + cells.sum(1) - np.diag(cells))))


@pytest.mark.parametrize("seed", range(8))
def test_it_has_the_largest_miou_of_all_subsets(seed: int) -> None:
    random, members = np.random.default_rng(seed + 100), 6
    fit_data, costs = pixels_of(seed, members), random.uniform(1, 10, members)
    limit = random.uniform(costs.min(), costs.sum())
    found = best_subset_by_miou(fit_data, costs, limit)
    allowed = allowed_subsets(costs, limit)
    assert costs[found].sum() <= limit
    assert miou_of(fit_data, found) == pytest.approx(max(miou_of(fit_data, places) for places in allowed), abs=1e-6)


def test_of_many_members_the_best_eight_that_fit_take_part() -> None:
    fit_data = pixels_of(0, 11)
    alone = [miou_of(fit_data, [place]) for place in range(11)]
    best = int(np.argmax(alone))
    costs = np.ones(11)
    costs[best] = 9
    found = best_subset_by_miou(fit_data, costs, 3)
    order = [place for place in np.argsort(alone)[::-1] if place != best]
    assert set(found) <= set(order[:8])
    assert miou_of(fit_data, found) >= miou_of(fit_data, order[:3])


def test_networks_that_are_too_sure_are_chosen_by_miou_but_not_by_log_loss() -> None:
    """The best member is far too sure of itself; both criteria may take one member only."""
    plain = pixels_of(3, 4)
    best = int(np.argmax([miou_of(plain, [place]) for place in range(4)]))
    sharpness = np.where(np.arange(4) == best, 8, 1)
    fit_data = pixels_of(3, 4, sharpness)
    costs = np.ones(4)
    assert best_subset_by_miou(fit_data, costs, 1) == [best]
    assert best_subset(fit_data.true_probs_pm, costs, 1) != [best]


def test_the_cheapest_of_equals_is_taken() -> None:
    fit_data = pixels_of(0, 2)
    twins = replace(fit_data, probs_mcp=np.repeat(fit_data.probs_mcp[:1], 3, axis=0))
    assert best_subset_by_miou(twins, np.array([3.0, 1.0, 2.0]), 6) == [1]


def test_the_criterion_is_part_of_the_settings(members: list[Member]) -> None:
    budget = budget_of(members, 9, 3, 4, 5, 20)
    runs = members[0].path.parents[1]
    by_loss = combine(members, within=replace(budget, by="log-loss"), runs=runs)
    by_miou = combine(members, within=budget, runs=runs)
    assert by_loss.ensemble.settings.within == "9 ms by log-loss"
    assert by_miou.ensemble.settings.within == "9 ms"
    assert by_loss.ensemble.name != by_miou.ensemble.name
    with pytest.raises(EnsError, match="unknown criterion 'iou'"):
        replace(budget, by="iou")  # pyright: ignore[reportArgumentType]


def test_costs_that_add_up_to_the_limit_fit() -> None:
    assert best_subset(true_probs(0, 3), np.full(3, 0.1), 0.1 + 0.1 + 0.1) == best_subset(
        true_probs(0, 3), np.full(3, 0.1), 9
    )


@pytest.fixture
def members(tmp_path: Path, make_member: Make, make_world: Make) -> list[Member]:
    world = make_world(images=40)
    return [make_member(tmp_path, f"net{i}", quality=quality, world=world) for i, quality in enumerate(QUALITIES)]


def budget_of(members: list[Member], limit: float, *costs: float) -> Budget:
    return Budget(limit, "ms", {member.name: cost for member, cost in zip(members, costs, strict=True)})


def combined(members: list[Member], limit: float, *costs: float, **more: Any) -> Combination:
    return combine(members, within=budget_of(members, limit, *costs), runs=members[0].path.parents[1], **more)


def test_each_fold_chooses_without_its_images(members: list[Member]) -> None:
    aligned = align(members)
    pipeline = Pipeline(budget=replace(budget_of(members, 10, 3, 4, 5, 6), by="log-loss"))
    done = cross_fit(aligned, pipeline, folds=4)
    fit_data = gather_fit_data(aligned)
    for fold, pool in enumerate(done.fold_pools):
        part = fit_data.of_images(done.fold_n != fold)
        chosen = best_subset(part.true_probs_pm, np.array([3.0, 4, 5, 6]), 10)
        assert set(np.flatnonzero(pool.weights_m).tolist()) <= set(chosen)
        np.testing.assert_allclose(
            pool.weights_m[chosen], fit_convex_weights(part.true_probs_pm[:, chosen]), atol=1e-12
        )
    assert done.was_fitted


def test_it_is_judged_against_the_full_ensemble_and_the_best_member_that_fits(members: list[Member]) -> None:
    done = combined(members, 9, 3, 4, 5, 20)
    assert done.verdict.best_member == members[2].name  # net3 is better but does not fit
    assert done.verdict.rival == "the full ensemble"
    assert "the full ensemble" in done.verdict.advice
    assert done.verdict.use in ("member", "method")  # the full ensemble is no choice
    found = done.ensemble.scores["budget"]
    assert members[3].name in found["left_out"]
    assert found["cost"] <= 9 < found["full_cost"]
    note = done.verdict.notes[0]
    assert note.startswith(f"Within 9 ms per image: {found['cost']:g} ms in place of {found['full_cost']:g} ms")
    assert members[3].name in note
    assert "Difference to the full ensemble in points of mIoU: -" in note
    assert done.ensemble.settings.within == "9 ms"
    needed = [member.name for member in active_members(done.ensemble)[0]]
    assert needed == [members[place].name for place in done.fitted.pool.used]
    assert not set(needed) & set(found["left_out"])


def test_a_budget_that_holds_all_is_the_full_ensemble_and_no_other_variant(members: list[Member]) -> None:
    plain, done = combine(members, runs=members[0].path.parents[1]), combined(members, 99, 3, 4, 5, 20)
    cost = np.array([3, 4, 5, 20])[plain.fitted.pool.used].sum()
    said = f"Within 99 ms per image: the budget leaves nobody out, the full ensemble takes {cost} ms."
    assert done.verdict.notes == (said, *plain.verdict.notes)
    assert (done.ensemble.path, done.looks) == (plain.ensemble.path, 1)
    assert done.ensemble.scores["verdict"]["notes"] == list(plain.verdict.notes)
    assert done.ensemble.settings.within is None


def test_a_budget_that_leaves_out_members_without_weight_says_so(members: list[Member]) -> None:
    runs = members[0].path.parents[1]
    plain = combine(members, runs=runs)
    assert plain.fitted.pool.used == [2, 3]
    done = combine(members, within=replace(budget_of(members, 11, 9, 4, 5, 6), by="log-loss"), runs=runs)
    assert done.fitted.pool.used == [2, 3]
    assert done.verdict.notes[0] == (
        "Within 11 ms per image: the budget leaves nobody out, the full ensemble takes 11 ms."
    )
    assert done.ensemble.settings.within == "11 ms by log-loss"


def test_temperatures_and_top_go_together_with_a_budget(members: list[Member]) -> None:
    done = combined(members, 9, 3, 4, 5, 20, calibrate="members", top=3)
    weights = done.fitted.pool.weights_m
    assert weights[0] == weights[3] == 0  # the worst one, and the one that costs too much
    assert done.fitted.pool.temperatures_m[3] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"within": Budget(1, "ms", {"a": 3.0, "b": 2.345678})},
            "no member fits into 1 ms per image: the cheapest, b,",
        ),
        ({"within": Budget(9, "ms", {"a": 3.0})}, "but that of b is missing"),
        (
            {"within": Budget(9, "ms", {"a": 3.0, "b": 4.0}), "keep_gain": 0.9},
            "expected a budget or a cascade, got both",
        ),
        (
            {"within": Budget(9, "ms", {"a": 3.0, "b": 4.0}), "method": "weighted(weights=[1, 2])"},
            "expected either weights or a budget, got both",
        ),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, make_member: Make, options: Any, message: str) -> None:
    members = [make_member(tmp_path, name, quality=quality) for name, quality in (("a", 1.0), ("b", 2.0))]
    names = dict(zip("ab", (member.name for member in members), strict=True))
    given = options["within"]
    renamed = Budget(given.limit, given.unit, {names[name]: cost for name, cost in given.costs.items()})
    with pytest.raises(EnsError) as caught:
        combine(members, runs=tmp_path, **(options | {"within": renamed}))
    text = str(caught.value)
    for short, name in names.items():
        text = text.replace(name, short)
    assert message in text


@pytest.mark.parametrize("text", ["", "20", "0ms", "-3ms", "20 seconds", "1e3ms", "ms", "nan ms", "20msx"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(EnsError, match="expected a budget per image such as 20ms"):
        parse_limit(text)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_or_cost_is_a_number_above_0(value: float) -> None:
    for limit, cost in ((value, 1.0), (1.0, value)):
        with pytest.raises(EnsError, match="above 0, got"):
            Budget(limit, "ms", {"a": cost})


def test_the_numbers_are_plain(members: list[Member]) -> None:
    done = combined(members, 9, 3, 4, 5, 20)
    assert json.loads((done.ensemble.path / "scores.json").read_text())["budget"]["costs"][members[0].name] == 3
