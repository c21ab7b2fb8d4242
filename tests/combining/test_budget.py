"""Members within a budget: against brute force over all subsets, cross-fitted, judged, and refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining import budget as budget_module
from ensemble.combining.alignment import align
from ensemble.combining.budget import Budget, best_subset, parse_limit
from ensemble.combining.combine import Combination, combine
from ensemble.combining.convex_weights import fit_convex_weights, log_loss
from ensemble.combining.crossfit import cross_fit
from ensemble.combining.fit_data import gather_fit_data
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


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_best_of_all_subsets(seed: int) -> None:
    random, members = np.random.default_rng(seed + 100), 6
    probs, costs = true_probs(seed, members), random.uniform(1, 10, members)
    limit = random.uniform(costs.min(), costs.sum())
    found = best_subset(probs, costs, limit)
    every = [places for size in range(1, members + 1) for places in combinations(range(members), size)]
    allowed = [places for places in every if costs[list(places)].sum() <= limit]
    assert costs[found].sum() <= limit
    assert best_loss(probs, found) <= min(best_loss(probs, places) for places in allowed) + 2e-6


def test_a_search_that_gives_up_still_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "FITS", 0)
    costs = np.array([3.0, 4.0, 5.0, 6.0, 7.0])
    found = best_subset(true_probs(1, 5), costs, 9.0)
    assert found
    assert costs[found].sum() <= 9


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
    pipeline = Pipeline(budget=budget_of(members, 10, 3, 4, 5, 6))
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


def test_a_budget_that_holds_all_changes_nothing(members: list[Member]) -> None:
    done, plain = combined(members, 99, 3, 4, 5, 20), combine(members, runs=members[0].path.parents[1])
    assert done.verdict.notes[0] == "Within 99 ms per image: nothing is left out, the full ensemble takes " + (
        f"{done.ensemble.scores['budget']['full_cost']:g} ms."
    )
    assert done.fitted.pool.to_json() == plain.fitted.pool.to_json()
    assert done.ensemble.name != plain.ensemble.name


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
