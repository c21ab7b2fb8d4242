"""The Pool: algebraic properties, formulas against NumPy and torch, refusals, and its JSON form."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.combining import Pool
from ensemble.core.errors import EnsError

SPACES = st.sampled_from(["arithmetic", "geometric"])


def random_probs(seed: int, members: int = 3, images: int = 2, classes: int = 3, spread: float = 2.0) -> Any:
    logits = np.random.default_rng(seed).normal(scale=spread, size=(members, images, classes, 2, 3))
    return torch.softmax(torch.tensor(logits), 2).numpy().astype(np.float32)


def random_pool(seed: int, space: Any, members: int = 3, classes: int = 3) -> Pool:
    random = np.random.default_rng([seed, 1])
    return Pool(
        random.uniform(0.1, 2, (members, classes)),
        random.uniform(0.5, 3, members),
        space,
        float(random.uniform(0.5, 3)),
        random.normal(size=classes),
    )


def plain_pool(pool: Pool, probs_mnchw: Any) -> Any:
    """The formulas of the docstring, pixel by pixel in float64."""
    result = np.zeros(probs_mnchw.shape[1:])
    for n, y, x in np.ndindex(probs_mnchw.shape[1], *probs_mnchw.shape[3:]):
        pixel_mc = probs_mnchw[:, n, :, y, x].astype(np.float64)
        powers = pixel_mc ** (1 / pool.temperatures_m[:, None])
        tempered = powers / powers.sum(1, keepdims=True)
        weights = pool.weights_mc / pool.weights_mc.sum(0)
        q = (weights * tempered).sum(0) if pool.space == "arithmetic" else np.prod(tempered**weights, axis=0)
        q = (q / q.sum()) ** (1 / pool.temperature)
        result[n, :, y, x] = q / q.sum()
    return result


# ---------------------------------------------------------------- formulas


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), SPACES)
def test_equals_the_formula_pixel_by_pixel(seed: int, space: str) -> None:
    pool, probs = random_pool(seed, space), random_probs(seed)
    np.testing.assert_allclose(pool(probs), plain_pool(pool, probs), rtol=2e-5, atol=1e-7)


def test_geometric_is_the_normalised_product_of_powers() -> None:
    probs = np.array([[0.8, 0.2], [0.3, 0.7]], np.float32).reshape(2, 1, 2, 1, 1)
    pool = Pool(np.array([[3.0, 3.0], [1.0, 1.0]]), np.ones(2), "geometric")
    expected = np.array([0.8**0.75 * 0.3**0.25, 0.2**0.75 * 0.7**0.25])
    np.testing.assert_allclose(pool(probs).ravel(), expected / expected.sum(), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.0, 2.0, 8.0])
def test_a_temperature_is_that_of_a_softmax(temperature: float) -> None:
    probs = random_probs(3, members=1)
    expected = torch.softmax(torch.log(torch.tensor(probs[0])) / temperature, 1).numpy()
    before = Pool(np.ones((1, 3)), np.array([temperature]))
    after = Pool(np.ones((1, 3)), np.ones(1), temperature=temperature)
    np.testing.assert_allclose(before(probs), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(after(probs), expected, rtol=1e-5, atol=1e-7)


def test_temperatures_belong_to_their_members() -> None:
    probs = random_probs(4, members=2)
    hot_first = Pool(np.ones((2, 3)), np.array([5.0, 1.0]))(probs)
    hot_second = Pool(np.ones((2, 3)), np.array([1.0, 5.0]))(probs)
    np.testing.assert_allclose(hot_first, Pool(np.ones((2, 3)), np.array([1.0, 5.0]))(probs[::-1]), atol=1e-6)
    assert np.abs(hot_first - hot_second).max() > 0.05


def test_a_class_a_member_calls_impossible_stays_finite_in_the_geometric_pool() -> None:
    probs = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32).reshape(2, 1, 2, 1, 1)
    pooled = Pool(np.ones((2, 2)), np.ones(2), "geometric")(probs)
    np.testing.assert_allclose(pooled.ravel(), [0.5, 0.5])


# ---------------------------------------------------------------- properties


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), SPACES)
def test_sums_to_one_and_is_float32(seed: int, space: str) -> None:
    pooled = random_pool(seed, space)(random_probs(seed))
    assert pooled.dtype == np.float32
    assert pooled.min() >= 0
    np.testing.assert_allclose(pooled.sum(1), 1, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), SPACES, st.lists(st.floats(0.01, 9), min_size=3, max_size=3))
def test_identical_members_are_the_member(seed: int, space: Any, weights: list[float]) -> None:
    one = random_probs(seed, members=1)
    pool = Pool(np.array(weights)[:, None].repeat(3, 1), np.ones(3), space)
    np.testing.assert_allclose(pool(one.repeat(3, 0)), one[0], rtol=2e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), SPACES, st.permutations(range(3)))
def test_permuting_members_permutes_weights_and_temperatures(seed: int, space: Any, order: list[int]) -> None:
    pool, probs = random_pool(seed, space), random_probs(seed)
    moved = Pool(pool.weights_mc[order], pool.temperatures_m[order], space, pool.temperature)
    np.testing.assert_allclose(moved(probs[order]), pool(probs), rtol=1e-4, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), SPACES, st.permutations(range(3)))
def test_relabelling_classes_commutes(seed: int, space: Any, order: list[int]) -> None:
    pool, probs = random_pool(seed, space), random_probs(seed)
    assert pool.offsets_c is not None
    moved = Pool(pool.weights_mc[:, order], pool.temperatures_m, space, pool.temperature, pool.offsets_c[order])
    pooled, relabelled = pool(probs), moved(probs[:, :, order])
    np.testing.assert_allclose(relabelled, pooled[:, order], rtol=1e-4, atol=1e-6)
    assert (np.array(order)[moved.decide(relabelled)] == pool.decide(pooled)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), SPACES, st.integers(0, 2))
def test_weight_zero_is_leaving_the_member_out(seed: int, space: Any, out: int) -> None:
    pool, probs = random_pool(seed, space), random_probs(seed)
    weights, kept = pool.weights_mc.copy(), [m for m in range(3) if m != out]
    weights[out] = 0
    without = Pool(weights[kept], pool.temperatures_m[kept], space, pool.temperature)
    silenced = Pool(weights, pool.temperatures_m, space, pool.temperature)
    np.testing.assert_allclose(silenced(probs), without(probs[kept]), rtol=1e-5, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.lists(st.floats(0, 9), min_size=3, max_size=3).filter(lambda w: sum(w) > 0.01))
def test_one_weight_per_member_stays_in_the_convex_hull(seed: int, weights: list[float]) -> None:
    probs = random_probs(seed)
    pooled = Pool.weighted(np.array(weights), 3)(probs)
    assert (pooled >= probs.min(0) - 1e-6).all()
    assert (pooled <= probs.max(0) + 1e-6).all()


@pytest.mark.parametrize("space", ["arithmetic", "geometric"])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_streaming_in_batches_gives_the_same_bits(space: str, size: int) -> None:
    pool, probs = random_pool(0, space), random_probs(0, images=7)
    parts = [pool(probs[:, start : start + size]) for start in range(0, 7, size)]
    assert (np.concatenate(parts) == pool(probs)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.floats(0.1, 100))
def test_weights_count_by_their_ratio(seed: int, factor: float) -> None:
    probs, weights = random_probs(seed), np.array([1.0, 2.0, 3.0])
    one, other = Pool.weighted(weights, 3), Pool.weighted(weights * factor, 3)
    np.testing.assert_allclose(one(probs), other(probs), atol=1e-6)
    np.testing.assert_allclose(one.weights_m, [1 / 6, 2 / 6, 3 / 6])
    assert np.isclose(other.weights_m.sum(), 1)


def test_the_input_is_left_alone() -> None:
    probs = random_probs(1)
    before = probs.copy()
    random_pool(1, "geometric")(probs)
    assert (probs == before).all()


# ---------------------------------------------------------------- decisions


@pytest.mark.parametrize("offsets", [None, [0.0, 0.0, 0.0], [0.7, 0.7, 0.7]])
def test_no_or_equal_offsets_change_nothing(offsets: list[float] | None) -> None:
    pooled = random_probs(5)[0]
    pool = Pool(np.ones((3, 3)), np.ones(3), offsets_c=None if offsets is None else np.array(offsets))
    assert (pool.decide(pooled) == pooled.argmax(1)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_offsets_are_added_to_the_log_probabilities(seed: int, offsets: list[float]) -> None:
    pooled = random_probs(seed)[0]
    pool = Pool(np.ones((1, 3)), np.ones(1), offsets_c=np.array(offsets))
    shifted = np.log(pooled.astype(np.float64)) + np.array(offsets)[:, None, None]
    top = np.sort(shifted, axis=1)
    clear = top[:, -1] - top[:, -2] > 1e-4
    assert (pool.decide(pooled) == shifted.argmax(1))[clear].all()


def test_offsets_move_class_maps_never_probabilities() -> None:
    probs = np.array([0.6, 0.4], np.float32).reshape(1, 1, 2, 1, 1)
    pool = Pool(np.ones((1, 2)), np.ones(1), offsets_c=np.array([0.0, 1.0]))
    np.testing.assert_array_equal(pool(probs), probs[0])
    assert pool.decide(pool(probs)).item() == 1
    assert probs[0].argmax(1).item() == 0


def test_large_offsets_neither_overflow_nor_silence_the_others() -> None:
    pooled = np.array([0.6, 0.3, 0.1], np.float32).reshape(1, 3, 1, 1)
    for offsets, expected in (([0.0, 2000.0, 1000.0], 1), ([1000.0, 1001.0, 0.0], 1), ([-900.0, -901.0, -950.0], 0)):
        pool = Pool(np.ones((1, 3)), np.ones(1), offsets_c=np.array(offsets))
        assert pool.decide(pooled).item() == expected


def test_the_weight_of_a_member_is_its_mean_over_the_classes() -> None:
    pool = Pool(np.array([[0.2, 0.4], [0.8, 0.6]]), np.ones(2))
    np.testing.assert_allclose(pool.weights_m, [0.3, 0.7])


def test_the_first_of_equals_is_decided() -> None:
    pooled = np.full((1, 3, 1, 1), 1 / 3, np.float32)
    assert Pool.uniform(2, 3).decide(pooled).item() == 0


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"weights_mc": np.ones(3)},
            r"expected weights \(members, classes\) and a temperature per member, got shapes \(3,\)",
        ),
        ({"temperatures_m": np.ones(3)}, r"a temperature per member, got shapes \(2, 3\) and \(3,\)"),
        ({"weights_mc": np.array([[1.0, 1, 1], [1, -1, 1]])}, "expected finite weights >= 0 that are not all zero"),
        ({"weights_mc": np.array([[1.0, 0, 1], [1, 0, 1]])}, r"not all zero, got \[\[1.0, 0.0, 1.0\]"),
        ({"weights_mc": np.full((2, 3), np.nan)}, "expected finite weights"),
        ({"weights_mc": np.full((2, 3), np.inf)}, "expected finite weights"),
        ({"temperatures_m": np.array([1.0, 0.0])}, r"expected finite temperatures above 0, got \[1.0, 0.0\] and 1.0"),
        ({"temperatures_m": np.array([1.0, np.nan])}, "expected finite temperatures above 0"),
        ({"temperature": -1.0}, "above 0, got .* and -1.0"),
        ({"temperature": math.nan}, "above 0, got .* and nan"),
        ({"temperature": math.inf}, "expected finite temperatures above 0, got .* and inf"),
        ({"space": "harmonic"}, "expected the space arithmetic or geometric, got 'harmonic'"),
        ({"offsets_c": np.zeros(2)}, r"expected 3 offsets, one per class, got the shape \(2,\)"),
        ({"offsets_c": np.array([0.0, np.nan, 0.0])}, r"expected finite offsets, got \[0.0, nan, 0.0\]"),
    ],
)
def test_bad_parameters_are_refused(fields: dict[str, Any], text: str) -> None:
    good: dict[str, Any] = {"weights_mc": np.ones((2, 3)), "temperatures_m": np.ones(2)}
    with pytest.raises(EnsError, match=text):
        Pool(**(good | fields))


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-1.0, -2.0], [math.nan, 1.0]])
def test_weights_without_a_positive_sum_are_refused(weights: list[float]) -> None:
    with pytest.raises(EnsError, match="expected weights >= 0 that are not all zero, got"):
        Pool.weighted(np.array(weights), 3)


@pytest.mark.parametrize(("members", "classes"), [(2, 3), (3, 2), (4, 4)])
def test_probabilities_of_another_shape_are_refused(members: int, classes: int) -> None:
    text = f"expected probabilities of 3 members and 3 classes, got {members} and {classes}"
    with pytest.raises(EnsError, match=text):
        Pool.uniform(3, 3)(random_probs(0, members=members, classes=classes))


# ---------------------------------------------------------------- JSON


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), SPACES, st.booleans())
def test_json_keeps_every_bit(seed: int, space: Any, with_offsets: bool) -> None:
    pool = random_pool(seed, space)
    if not with_offsets:
        pool = Pool(pool.weights_mc, pool.temperatures_m, space, pool.temperature)
    again = Pool.from_json(json.loads(json.dumps(pool.to_json())))
    assert again.to_json() == pool.to_json()
    probs = random_probs(seed)
    assert (again(probs) == pool(probs)).all()
    assert (again.decide(again(probs)) == pool.decide(pool(probs))).all()


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "heavy"},
        {"weights": [[1.0, 1.0], [1.0]]},
        {"weights": None},
        {"temperatures": {"a": 1}},
        {"temperature": None},
        {"offsets": ["x", "y", "z"]},
    ],
)
def test_a_damaged_pool_says_so(change: dict[str, Any]) -> None:
    content = Pool.uniform(2, 3).to_json()
    with pytest.raises(EnsError, match=r"the stored pool is damaged|expected (finite )?weights"):
        Pool.from_json(content | change)


@pytest.mark.parametrize("missing", ["weights", "temperatures", "space", "temperature", "offsets"])
def test_a_pool_with_a_missing_field_names_it(missing: str) -> None:
    content = Pool.uniform(2, 3).to_json()
    del content[missing]
    with pytest.raises(EnsError, match=f"the stored pool is damaged \\('{missing}'\\); combine the members again"):
        Pool.from_json(content)
