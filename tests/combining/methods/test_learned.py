"""Learned weights: the conditions of the optimum, other optimisers, planted truth and degenerate members."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from ensemble.combining import convex_weights
from ensemble.combining.arithmetic import FLOOR
from ensemble.combining.convex_weights import fit_convex_weights
from ensemble.combining.fit_data import FitData
from ensemble.combining.methods import learned
from ensemble.core.errors import EnsError


def random_fit_data(seed: int, members: int, pixels: int = 400) -> Any:
    """True-class probabilities of members of different quality whose errors are partly shared."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(pixels, 1))
    logits = random.uniform(-1, 2, members) + random.uniform(0.3, 3, members) * (
        shared + random.normal(size=(pixels, members))
    )
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def loss(probs_pm: Any, weights_m: Any) -> float:
    return float(-np.log(np.maximum(probs_pm, FLOOR).astype(np.float64) @ weights_m).mean())


def expectation_maximisation(probs_pm: Any, steps: int) -> Any:
    probs = np.maximum(probs_pm, FLOOR).astype(np.float64)
    weights = np.full(probs.shape[1], 1 / probs.shape[1])
    for _ in range(steps):
        weights *= (probs / (probs @ weights)[:, None]).mean(0)
    return weights


def assert_optimal(probs_pm: Any, weights_m: Any, tolerance: float = 2e-3) -> None:
    """Karush-Kuhn-Tucker: mean of p_m / q is 1 where the weight is positive, at most 1 elsewhere."""
    probs = np.maximum(probs_pm, FLOOR).astype(np.float64)
    ratio_m = (probs / (probs @ weights_m)[:, None]).mean(0)
    assert (weights_m >= 0).all()
    assert weights_m.sum() == pytest.approx(1)
    assert ratio_m.max() < 1 + tolerance
    assert np.abs(ratio_m[weights_m > 0.01] - 1).max() < tolerance


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9999), st.integers(2, 7))
def test_the_optimum_satisfies_its_conditions(seed: int, members: int) -> None:
    probs = random_fit_data(seed, members)
    assert_optimal(probs, fit_convex_weights(probs))


@pytest.mark.parametrize("seed", range(6))
def test_is_as_good_as_thousands_of_steps_of_em(seed: int) -> None:
    probs = random_fit_data(seed, 4)
    found, patient = fit_convex_weights(probs), expectation_maximisation(probs, 8000)
    assert loss(probs, found) <= loss(probs, patient) + 1e-6
    np.testing.assert_allclose(found, patient, atol=5e-3)


@pytest.mark.parametrize("seed", range(4))
def test_is_as_good_as_another_optimiser_from_random_starts(seed: int) -> None:
    probs, random = random_fit_data(seed + 50, 5), np.random.default_rng(seed)

    def softmax_loss(free: Any) -> float:
        weights = np.exp(free - free.max())
        return loss(probs, weights / weights.sum())

    best = min(minimize(softmax_loss, random.normal(size=5), method="L-BFGS-B").fun for _ in range(3))
    assert loss(probs, fit_convex_weights(probs)) <= best + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_is_as_good_as_sequential_quadratic_programming_in_double_precision(seed: int) -> None:
    probs = random_fit_data(seed + 70, 6, pixels=3000)
    double = np.maximum(probs, FLOOR).astype(np.float64)

    def loss_and_gradient(weights: Any) -> Any:
        pooled = double @ weights
        return -np.log(pooled).mean(), -(double / pooled[:, None]).mean(0)

    reference = minimize(
        loss_and_gradient,
        np.full(6, 1 / 6),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * 6,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-12},
    )
    assert loss(probs, fit_convex_weights(probs)) == pytest.approx(loss(probs, reference.x), abs=1e-6)


def test_starting_on_a_part_of_many_pixels_and_in_blocks_ends_at_the_same_optimum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probs = random_fit_data(9, 5, pixels=5000)
    at_once = fit_convex_weights(probs)
    monkeypatch.setattr(convex_weights, "SAMPLE", 300)
    monkeypatch.setattr(convex_weights, "BLOCK", 700)
    in_parts = fit_convex_weights(probs)
    assert_optimal(probs, in_parts)
    assert loss(probs, in_parts) == pytest.approx(loss(probs, at_once), abs=1e-6)


@pytest.mark.parametrize("sampled", [0.95, 0.3])
def test_a_sample_that_is_unlike_the_rest_changes_nothing(monkeypatch: pytest.MonkeyPatch, sampled: float) -> None:
    probs = random_fit_data(12, 4, pixels=8000)
    probs[:: convex_weights.THIN] = sampled
    probs[:: convex_weights.THIN, 1] = 1e-7  # never right on the sample, where the others are equal
    at_once = fit_convex_weights(probs)
    newton, sizes = convex_weights._newton, list[int]()  # pyright: ignore[reportPrivateUsage]

    def counted(probs_mp: Any, weights_m: Any, enough: float) -> Any:
        sizes.append(probs_mp.shape[1])
        return newton(probs_mp, weights_m, enough)

    monkeypatch.setattr(convex_weights, "_newton", counted)
    monkeypatch.setattr(convex_weights, "SAMPLE", 500)
    in_parts = fit_convex_weights(probs)
    assert sizes == [500, 8000]  # it was noticed
    assert_optimal(probs, in_parts, tolerance=1e-4)
    np.testing.assert_allclose(in_parts, at_once, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 12), st.sampled_from([1, 2, 5, 40, 300]), st.floats(0.1, 20))
def test_no_member_can_lower_the_loss_however_odd_the_members(
    seed: int, members: int, pixels: int, power: float
) -> None:
    """Copies, scaled copies, zeros and nearly certain members; the largest mean of p_m / q bounds what is to gain."""
    random = np.random.default_rng(seed)
    probs = random_fit_data(seed, members, pixels).astype(np.float64) ** power
    probs = probs[:, random.integers(0, members, members)] * random.choice([1, 1, 0.5, 1e-6], members)
    probs[random.random(probs.shape) < random.choice([0, 0.3])] = 0
    assert_optimal(probs.astype(np.float32), fit_convex_weights(probs.astype(np.float32)))


@pytest.mark.parametrize("seed", range(5))
def test_two_members_equal_a_search_over_a_grid(seed: int) -> None:
    probs = random_fit_data(seed + 100, 2)
    grid = np.linspace(0, 1, 2001)
    best = grid[np.argmin([loss(probs, np.array([w, 1 - w])) for w in grid])]
    assert fit_convex_weights(probs)[0] == pytest.approx(best, abs=2e-3)


def test_planted_mixture_weights_are_recovered() -> None:
    random, planted = np.random.default_rng(7), np.array([0.6, 0.3, 0.1, 0.0])
    members_pmc = random.dirichlet([0.4] * 3, size=(20_000, 4))
    mixture_pc = np.einsum("m,pmc->pc", planted, members_pmc)
    drawn = (mixture_pc.cumsum(1) < random.random((20_000, 1))).sum(1).clip(max=2)
    true_probs = members_pmc[np.arange(20_000), :, drawn].astype(np.float32)
    np.testing.assert_allclose(fit_convex_weights(true_probs), planted, atol=0.03)


def test_a_perfect_member_takes_everything() -> None:
    probs = np.stack([np.ones(500), np.random.default_rng(0).uniform(0.05, 0.95, 500)], 1).astype(np.float32)
    np.testing.assert_allclose(fit_convex_weights(probs), [1, 0], atol=1e-4)


def test_identical_members_share_equally() -> None:
    probs = random_fit_data(1, 1).repeat(3, 1)
    np.testing.assert_allclose(fit_convex_weights(probs), [1 / 3] * 3, atol=1e-6)


def test_a_duplicate_changes_nothing_for_the_others() -> None:
    probs = random_fit_data(3, 3)
    alone, doubled = fit_convex_weights(probs), fit_convex_weights(probs[:, [0, 1, 2, 2]])
    np.testing.assert_allclose([*doubled[:2], doubled[2:].sum()], alone, atol=5e-3)
    assert loss(probs[:, [0, 1, 2, 2]], doubled) == pytest.approx(loss(probs, alone), abs=1e-6)


@pytest.mark.parametrize("share", [0.001, 0.1, 1.0])
def test_a_member_that_gives_the_truth_no_probability(share: float) -> None:
    probs = random_fit_data(5, 3)
    probs[: int(share * len(probs)), 1] = 0
    weights = fit_convex_weights(probs)
    assert np.isfinite(weights).all()
    assert_optimal(probs, weights)
    assert share < 1 or weights[1] == 0


def test_a_pixel_that_all_members_miss_costs_a_finite_loss() -> None:
    probs = random_fit_data(6, 3)
    probs[0] = 0
    assert_optimal(probs, fit_convex_weights(probs))


def test_members_that_are_right_on_different_halves_meet_in_the_middle() -> None:
    probs = np.full((100, 2), 1e-9, np.float32)
    probs[:50, 0] = probs[50:, 1] = 1
    np.testing.assert_allclose(fit_convex_weights(probs), [0.5, 0.5], atol=1e-4)


def test_one_member_and_one_pixel() -> None:
    assert fit_convex_weights(np.array([[0.3]], np.float32)).tolist() == [1.0]
    np.testing.assert_allclose(fit_convex_weights(np.array([[0.2, 0.9]], np.float32)), [0, 1], atol=1e-4)


def test_negligible_weights_are_exactly_zero() -> None:
    probs = random_fit_data(8, 2)
    weights = fit_convex_weights(np.stack([probs[:, 0], probs[:, 0] * np.float32(0.5)], 1))
    assert weights.tolist() == [1.0, 0.0]


def fit_data_of(probs_pm: Any, labels: Any = None) -> FitData:
    """Two classes, the true one 0 unless labels are given."""
    true = probs_pm.T
    labels = np.zeros(true.shape[1], np.uint8) if labels is None else labels
    probs_mcp = np.where(labels[None, None] == np.arange(2)[:, None], true[:, None], 1 - true[:, None])
    pixels = true.shape[1]
    return FitData(probs_mcp.astype(np.float32), np.zeros(pixels, np.int32), labels, np.zeros(1, np.intp))


@pytest.mark.parametrize("seed", range(4))
def test_weights_above_a_floor_equal_a_constrained_optimiser(seed: int) -> None:
    probs, floor = random_fit_data(seed, 5), 0.1
    found = learned.learned(fit_data_of(probs), min_weight=floor).weights_m
    reference = minimize(
        lambda w: loss(probs, w), np.full(5, 0.2), method="SLSQP", bounds=[(floor, 1)] * 5, options={"ftol": 1e-12},
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    ).x  # fmt: skip
    assert found.min() >= floor - 1e-9
    assert found.sum() == pytest.approx(1)
    assert loss(probs, found) <= loss(probs, reference / reference.sum()) + 2e-6


def test_soft_miou_above_a_floor_is_the_best_of_a_grid() -> None:
    labels = (np.arange(400) % 5 == 0).astype(np.uint8)
    data, floor = fit_data_of(random_fit_data(1, 2), labels), 0.2
    found = learned.learned(data, objective="soft-miou", min_weight=floor).weights_m

    def soft(weights_m: Any) -> float:
        pooled = np.tensordot(weights_m, data.probs_mcp, 1)
        hits = np.array([pooled[c, labels == c].sum() for c in range(2)])
        return float((hits / (np.bincount(labels) + pooled.sum(1) - hits)).mean())

    best = max(soft(np.array([share, 1 - share])) for share in np.linspace(floor, 1 - floor, 601))
    assert found.min() >= floor - 1e-9
    assert soft(found) == pytest.approx(best, abs=1e-5)


def test_a_floor_of_one_over_the_members_is_the_average_and_a_higher_one_is_refused() -> None:
    data = fit_data_of(random_fit_data(2, 4))
    assert learned.learned(data, min_weight=0.25).weights_m == pytest.approx(np.full(4, 0.25))
    assert (learned.learned(data, min_weight=0.0).weights_m == fit_convex_weights(data.true_probs_pm)).all()
    for wrong in (0.3, -0.1):
        with pytest.raises(EnsError, match=f"expected min_weight from 0 to 0.250, .* got {wrong}; choose a smaller"):
            learned.learned(data, min_weight=wrong)
