"""Soft mIoU, geometric, per-class, stacking, vote and auto: independent references and planted truths."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.linear_model import LogisticRegression

from ensemble.combining import COMBINERS, Pool
from ensemble.combining.convex_weights import fit_convex_weights
from ensemble.combining.fit_data import FitData, near_mean
from ensemble.combining.methods import per_class
from ensemble.combining.methods.auto import simplest_unbeaten
from ensemble.combining.methods.geometric import fit_exponents
from ensemble.combining.methods.learned import fit_soft_iou_weights
from ensemble.combining.methods.per_class import choose_strength, fit_class_weights
from ensemble.combining.methods.stacking import Stacking, fit_multinomial
from ensemble.combining.methods.vote import Vote
from ensemble.core.errors import EnsError


def fit_data(seed: int, quality_mc: Any, pixels: int = 600, groups: int = 12, sharpness: Any = 1.0) -> FitData:
    """Members that gain ``quality_mc`` logits on the true class, by member and class."""
    random = np.random.default_rng(seed)
    quality = np.asarray(quality_mc, np.float64)
    members, classes = quality.shape
    labels = random.integers(0, classes, pixels).astype(np.uint8)
    logits = random.normal(size=(members, classes, pixels))
    logits[:, labels, np.arange(pixels)] += quality[:, labels]
    logits *= np.broadcast_to(sharpness, members)[:, None, None]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    images = np.sort(random.integers(0, 2 * groups, pixels)).astype(np.int32)
    return FitData(probs.astype(np.float32), images, labels, np.arange(2 * groups) // 2)


def log_loss(pooled_cp: Any, labels_p: Any) -> float:
    return float(-np.log(np.maximum(pooled_cp[labels_p, np.arange(len(labels_p))], 1e-9)).mean(dtype=np.float64))


def simplex_grid(steps: int, members: int) -> list[Any]:
    parts = (part for part in product(range(steps + 1), repeat=members) if sum(part) == steps)
    return [np.array(part) / steps for part in parts]


# ---------------------------------------------------------------- soft mIoU


def soft_miou(probs_mcp: Any, labels_p: Any, weights_m: Any) -> float:
    """The definition, pixel by pixel in float64."""
    pooled = np.tensordot(weights_m, probs_mcp.astype(np.float64), 1)
    truth = np.eye(len(pooled))[:, labels_p]
    hits = (pooled * truth).sum(1)
    return float((hits / (pooled.sum(1) + truth.sum(1) - hits)).mean())


@pytest.mark.parametrize("seed", range(4))
def test_soft_miou_equals_a_search_over_the_simplex(seed: int) -> None:
    one = fit_data(seed, [[1, 0.2, 1], [0.3, 1.2, 1], [1, 1, 0.1]], 200)
    best = max(soft_miou(one.probs_mcp, one.labels_p, weights) for weights in simplex_grid(40, 3))
    found = fit_soft_iou_weights(one.probs_mcp, one.labels_p)
    assert soft_miou(one.probs_mcp, one.labels_p, found) >= best - 1e-7
    np.testing.assert_allclose(COMBINERS.create("learned", one, objective="soft-miou").weights_m, found, atol=1e-12)


# ---------------------------------------------------------------- geometric


@pytest.mark.parametrize("seed", range(4))
def test_learned_exponents_equal_a_search_over_the_simplex(seed: int) -> None:
    one = fit_data(seed, [[0.5] * 3, [1.5] * 3, [1.0] * 3], 300)
    logs = np.log(one.probs_mcp.astype(np.float64))

    def loss(weights: Any) -> float:
        pooled = np.exp(np.tensordot(weights, logs, 1))
        return log_loss(pooled / pooled.sum(0), one.labels_p)

    found = fit_exponents(one.probs_mcp, one.labels_p)
    assert loss(found) <= min(loss(weights) for weights in simplex_grid(40, 3)) + 1e-6
    pool = COMBINERS.create("geometric", one, exponents="learned")
    assert log_loss(pool.on_pixels(one), one.labels_p) == pytest.approx(loss(found), abs=1e-5)


def test_independent_experts_are_weighted_by_what_they_know() -> None:
    one = fit_data(1, [[2.0] * 3, [1.0] * 3], 20_000)
    weights = fit_exponents(one.probs_mcp, one.labels_p)
    assert weights[0] > 0.6
    assert weights.sum() == pytest.approx(1)


# ---------------------------------------------------------------- per class


def test_the_gradient_is_that_of_differences() -> None:
    one = fit_data(0, [[1, 0.5], [0.2, 1.0], [0.7, 0.7]], 200)
    at = np.random.default_rng(0).dirichlet([2] * 3, 2).T
    _, gradient = per_class._loss(at, one)  # pyright: ignore[reportPrivateUsage]

    def loss(free: Any) -> float:
        pooled = np.einsum("mc,mcp->cp", free.reshape(3, 2), one.probs_mcp.astype(np.float64))
        return log_loss(pooled / pooled.sum(0), one.labels_p)

    np.testing.assert_allclose(gradient.ravel(), np.asarray(approx_fprime(at.ravel(), loss, 1e-6)), atol=1e-4)


def test_the_stronger_the_nearer_to_one_weight_per_member() -> None:
    one = fit_data(2, [[2, 0.2, 1], [0.2, 2, 1]], 4000)
    learned = fit_convex_weights(one.true_probs_pm)
    spreads: list[float] = []
    losses: list[float] = []
    for strength in (1e6, 1.0, 0.1, 0.01, 0.0):
        pool = COMBINERS.create("per-class", one, strength=strength)
        assert isinstance(pool, Pool)
        np.testing.assert_allclose(pool.weights_mc.sum(0), 1)
        spreads.append(float(np.abs(pool.weights_mc - learned[:, None]).max()))
        losses.append(log_loss(pool.on_pixels(one), one.labels_p))
    assert spreads == sorted(spreads)
    assert losses == sorted(losses, reverse=True)
    assert spreads[0] < 1e-3


def test_specialists_get_the_class_they_know() -> None:
    one = fit_data(3, [[2.5, 0.2, 1], [0.2, 2.5, 1]], 6000)
    pool = COMBINERS.create("per-class", one)
    assert isinstance(pool, Pool)
    assert pool.weights_mc[0, 0] > pool.weights_mc[0, 1] + 0.2
    assert pool.weights_mc[0, 2] == pytest.approx(0.5, abs=0.1)
    other = fit_data(4, [[2.5, 0.2, 1], [0.2, 2.5, 1]], 6000)
    learned = COMBINERS.create("learned", one)
    assert log_loss(pool.on_pixels(other), other.labels_p) < log_loss(learned.on_pixels(other), other.labels_p) - 0.01
    assert choose_strength(one) <= 0.01


def test_members_without_specialities_lose_next_to_nothing() -> None:
    quality, excess = [[1.0] * 3, [1.3] * 3], []
    for seed in range(8):
        one, other = fit_data(2 * seed, quality, 300), fit_data(2 * seed + 1, quality, 3000)
        pools = [COMBINERS.create(name, one) for name in ("per-class", "learned")]
        losses = [log_loss(pool.on_pixels(other), other.labels_p) for pool in pools]
        excess.append(losses[0] - losses[1])
    assert -0.002 < np.mean(excess) < 0.004


def test_weights_of_a_class_stay_on_the_simplex_from_any_start() -> None:
    one = fit_data(6, [[3, 0], [0, 3]], 300)
    found = fit_class_weights(one, np.array([0.5, 0.5]), 0.0, np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(0), 1)


# ---------------------------------------------------------------- stacking


@pytest.mark.parametrize("strength", [0.1, 0.003])
def test_equals_the_regression_of_scikit_learn(strength: float) -> None:
    one = fit_data(0, [[1, 0.5, 2], [0.2, 1.0, 0.5]], 300)
    features = np.log(one.probs_mcp.reshape(6, -1).astype(np.float64))
    coefficients, bias = fit_multinomial(features, one.labels_p, np.zeros((6, 3)), strength)
    reference: Any = LogisticRegression(C=1 / (strength * one.pixels), tol=1e-10, max_iter=10_000)
    reference.fit(features.T, one.labels_p)
    np.testing.assert_allclose(coefficients.T, reference.coef_, atol=2e-3)
    np.testing.assert_allclose(bias - bias.mean(), reference.intercept_ - np.mean(reference.intercept_), atol=5e-3)


def test_strongly_shrunk_it_is_the_geometric_mean() -> None:
    one = fit_data(1, [[1.0] * 3, [1.5] * 3], 3000)
    stacked = COMBINERS.create("stacking", one, strength=1e6).on_pixels(one)
    np.testing.assert_allclose(stacked, COMBINERS.create("geometric", one).on_pixels(one), atol=0.03)


def test_confused_classes_are_told_apart_by_a_member_that_swaps_them() -> None:
    one = fit_data(2, [[2.0] * 3], 3000)
    swapped = FitData(one.probs_mcp[:, [1, 0, 2]], one.image_p, one.labels_p, one.group_n)
    stacked = COMBINERS.create("stacking", swapped).on_pixels(swapped)
    right = [
        int(np.equal(probs.argmax(0), one.labels_p).sum()) / one.pixels for probs in (stacked, swapped.probs_mcp[0])
    ]
    assert right[0] > right[1] + 0.3


def test_the_formula_with_its_neighbourhood_pixel_by_pixel() -> None:
    random = np.random.default_rng(0)
    probs = random.dirichlet([1.0] * 3, (2, 1, 4, 5)).transpose(0, 1, 4, 2, 3).astype(np.float32)
    made = Stacking(random.normal(size=(2, 2, 3, 3)), random.normal(size=3), np.array([1.0, 2.0]))
    found = made(probs)
    for y, x in product(range(4), range(5)):
        scores = made.bias_k.copy()
        for m in range(2):
            rows, columns = np.clip([y - 1, y, y + 1], 0, 3), np.clip([x - 1, x, x + 1], 0, 4)
            near = probs[m, 0][:, rows][:, :, columns].mean((1, 2))
            for t, values in enumerate((probs[m, 0, :, y, x], near)):
                powers = values.astype(np.float64) ** (1 / made.temperatures_m[m])
                scores += np.log(powers / powers.sum()) @ made.coefficients_mtck[m, t]
        expected = np.exp(scores - scores.max())
        np.testing.assert_allclose(found[0, :, y, x], expected / expected.sum(), rtol=2e-4, atol=1e-6)


def test_the_neighbourhood_of_a_flat_map_is_the_map_and_sums_to_one() -> None:
    flat = np.full((1, 1, 2, 3, 3), [[[[[0.25]], [[0.75]]]]], np.float32)
    np.testing.assert_allclose(near_mean(flat), flat, rtol=1e-6)
    rough = np.random.default_rng(0).dirichlet([1] * 3, (1, 2, 5, 4)).transpose(0, 1, 4, 2, 3).astype(np.float32)
    np.testing.assert_allclose(near_mean(rough).sum(2), 1, atol=1e-6)


def test_a_neighbourhood_that_was_not_gathered_is_refused() -> None:
    with pytest.raises(EnsError, match="expected probabilities of 3x3 neighbourhoods, but they were not gathered; use"):
        COMBINERS.create("stacking", fit_data(0, [[1.0] * 2]), neighbourhood=3)


@pytest.mark.parametrize(
    ("coefficients", "bias", "text"),
    [
        (np.ones((2, 3, 2, 2)), np.ones(2), r"expected coefficients \(members, 1 or 2, classes, classes\)"),
        (np.ones((2, 1, 2, 2)), np.ones(3), r"and a bias per class, got shapes \(2, 1, 2, 2\) and \(3,\)"),
        (np.full((2, 1, 2, 2), np.nan), np.ones(2), "expected finite coefficients"),
        (np.ones((1, 1, 2, 2)), np.ones(2), "expected 1 temperatures, one per member"),
    ],
)
def test_unfit_coefficients_are_refused(coefficients: Any, bias: Any, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        Stacking(coefficients, bias, np.ones(2))


# ---------------------------------------------------------------- vote


def test_majority_wins_and_probability_decides_ties() -> None:
    pixels = np.array([[[0.6, 0.4], [0.6, 0.4], [0.01, 0.99]], [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]], np.float32)
    probs = pixels.transpose(1, 2, 0)[:, None, :, None]
    made = Vote(np.ones(3), np.ones(3), class_count=2)
    assert made.decide(made(probs)).ravel().tolist() == [0, 0]
    two = Vote(np.array([1.0, 1.0, 0.0]), np.ones(3), class_count=2)
    np.testing.assert_allclose(two(probs)[0, :, 0, 1], [(1 + 0.55 / 2) / 2.5, (1 + 0.45 / 2) / 2.5], rtol=1e-6)
    assert two.weights_m.tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize("votes", [[0.0, 0.0], [2.0, 1.0], [[1.0, 1.0]]])
def test_unfit_votes_are_refused(votes: Any) -> None:
    with pytest.raises(EnsError, match="expected a vote of 0 or 1 per member, not all 0, got"):
        Vote(np.array(votes), np.ones(2), class_count=2)


# ---------------------------------------------------------------- auto


def confusions(accuracies: list[float], groups: int = 60, seed: int = 0) -> Any:
    """Two classes of 100 pixels each per group; systems on the same pixels, the better right wherever the worse is."""
    luck = np.random.default_rng(seed).random((groups, 1, 2, 100))
    hits = (luck < np.array(accuracies)[:, None, None]).sum(-1)
    tables = np.zeros((groups, len(accuracies), 2, 2), np.int64)
    tables[..., 0, 0], tables[..., 0, 1] = hits[..., 0], 100 - hits[..., 0]
    tables[..., 1, 1], tables[..., 1, 0] = hits[..., 1], 100 - hits[..., 1]
    return tables


@pytest.mark.parametrize(
    ("accuracies", "taken"), [([0.8, 0.8, 0.8], 0), ([0.8, 0.7, 0.9], 2), ([0.8, 0.9, 0.9], 1), ([0.9, 0.8, 0.7], 0)]
)
def test_the_simplest_that_none_beats_is_taken(accuracies: list[float], taken: int) -> None:
    assert simplest_unbeaten(confusions(accuracies)) == taken


def test_a_difference_within_the_noise_does_not_count() -> None:
    loud = np.concatenate([confusions([0.8], seed=0), confusions([0.803], seed=1)], 1)
    assert simplest_unbeaten(loud) == 0
    assert simplest_unbeaten(loud[:, ::-1]) == 0
    assert simplest_unbeaten(loud[:1]) == 0


def test_auto_keeps_the_average_of_members_alike_and_leaves_it_where_one_is_noise() -> None:
    alike = COMBINERS.create("auto", fit_data(0, [[1.5] * 3] * 2, 1500))
    assert alike.chosen == "average"
    noise = fit_data(1, [[2.5] * 3, [0.0] * 3, [0.0] * 3], 3000, sharpness=(1, 3, 3))
    chosen = COMBINERS.create("auto", noise)
    assert chosen.chosen not in ("average", "vote", "")
    assert (chosen.on_pixels(noise).argmax(0) == noise.labels_p).mean() > 0.8


@pytest.mark.parametrize("seed", range(5))
def test_a_class_that_no_pixel_has_gets_weights_near_the_common_ones(seed: int) -> None:
    data = fit_data(seed, [[1.0, 1.0, 1.0], [2.0, 0.5, 1.5]])
    kept = data.of_pixels(np.flatnonzero(data.labels_p != 2))
    centre_m = fit_convex_weights(kept.true_probs_pm)
    for strength in (1.0, 1e-3, 0.0):
        start_mc = centre_m[:, None].repeat(3, 1)
        weights_mc = fit_class_weights(kept, centre_m, strength, start_mc)
        np.testing.assert_allclose(weights_mc.sum(0), 1)
        assert (weights_mc >= 0).all()
        # The best column for a class without a pixel holds the member that gives it the least probability.
        if strength == 0:
            least = kept.probs_mcp[:, 2].mean(1).argmin()
            assert weights_mc[:, 2].argmax() == least


def test_a_column_of_zeros_stands_for_the_common_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    data, centre_m = fit_data(0, [[1.0, 1.0], [2.0, 0.5]]), np.array([0.25, 0.75])
    found_mc = np.array([[0.5, 0.0], [1.5, 0.0]])
    monkeypatch.setattr("scipy.optimize.minimize", lambda *_, **__: SimpleNamespace(x=found_mc.ravel()))
    weights_mc = fit_class_weights(data, centre_m, 0.1, np.ones((2, 2)))
    np.testing.assert_allclose(weights_mc, [[0.25, 0.25], [0.75, 0.75]], rtol=1e-8)
