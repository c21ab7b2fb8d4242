"""The contract of every registered way of combining, and the weights that a user gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ensemble.errors import EnsError, UnknownName
from ensemble.pool import COMBINERS, Pool
from ensemble.pool.evidence import Evidence

WEIGHTS: dict[str, dict[str, Any]] = {"weighted": {"weights": (0.5, 0.2, 0.3)}}


def evidence(seed: int = 0, members: int = 3, classes: int = 4, pixels: int = 300) -> Evidence:
    random = np.random.default_rng(seed)
    probs = random.beta(np.arange(2, 2 + members), 2, (pixels, members)).astype(np.float32)
    images = np.sort(random.integers(0, 10, pixels)).astype(np.int32)
    return Evidence(probs, images, random.integers(0, classes, pixels).astype(np.uint8), classes)


def options_of(name: str, order: list[int] | None = None) -> dict[str, Any]:
    given = WEIGHTS.get(name, {})
    return given if order is None else {key: tuple(value[m] for m in order) for key, value in given.items()}


def test_the_methods_of_the_first_release_are_there() -> None:
    assert {"average", "weighted", "learned"} <= set(COMBINERS)


@pytest.mark.parametrize("name", list(COMBINERS))
def test_returns_a_pool_of_the_right_shape(name: str) -> None:
    pool = COMBINERS.create(name, evidence(), **options_of(name))
    assert isinstance(pool, Pool)
    assert pool.weights_mc.shape == (3, 4)
    assert pool.temperatures_m.shape == (3,)
    assert COMBINERS.summary(name).endswith(".")


@pytest.mark.parametrize("name", list(COMBINERS))
def test_is_deterministic_and_leaves_the_evidence_alone(name: str) -> None:
    shown, untouched = evidence(), evidence()
    first, second = (COMBINERS.create(name, shown, **options_of(name)) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert (shown.true_probs_pm == untouched.true_probs_pm).all()
    assert (shown.labels_p == untouched.labels_p).all()


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2]])
@pytest.mark.parametrize("name", list(COMBINERS))
def test_permuting_members_permutes_their_weights(name: str, order: list[int]) -> None:
    one = evidence()
    other = Evidence(one.true_probs_pm[:, order], one.image_p, one.labels_p, one.classes)
    pool = COMBINERS.create(name, one, **options_of(name))
    moved = COMBINERS.create(name, other, **options_of(name, order))
    np.testing.assert_allclose(moved.weights_mc, pool.weights_mc[order], atol=3e-3)


@pytest.mark.parametrize("name", list(COMBINERS))
def test_the_order_of_pixels_does_not_matter(name: str) -> None:
    one = evidence()
    other = Evidence(one.true_probs_pm[::-1], one.image_p[::-1], one.labels_p[::-1], one.classes)
    pools = [COMBINERS.create(name, each, **options_of(name)) for each in (one, other)]
    np.testing.assert_allclose(pools[0].weights_mc, pools[1].weights_mc, atol=3e-3)


def test_average_weighs_all_alike() -> None:
    pool = COMBINERS.create("average", evidence())
    np.testing.assert_allclose(pool.weights_mc, 1 / 3)


def test_learned_prefers_the_better_member() -> None:
    weights = COMBINERS.create("learned", evidence()).weights_m
    assert weights.argmax() == 2


def test_weights_are_normalised_and_read_from_text() -> None:
    pool = COMBINERS.create("weighted", evidence(), weights="2,1,1")
    np.testing.assert_allclose(pool.weights_m, [0.5, 0.25, 0.25])
    np.testing.assert_allclose(COMBINERS.create("weighted", evidence(), weights=(0, 3, 1)).weights_m, [0, 0.75, 0.25])


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ((), "expected 3 weights, one per member, got 0; write for example --weights 2,1,1"),
        ((1.0, 2.0), "expected 3 weights, one per member, got 2; write"),
        ((1.0, 2.0, 3.0, 4.0), "expected 3 weights, one per member, got 4; write"),
        ((1.0, -0.5, 1.0), "expected finite weights >= 0 that are not all zero, got 1, -0.5, 1$"),
        ((0.0, 0.0, 0.0), "expected finite weights >= 0 that are not all zero, got 0, 0, 0$"),
        ((1.0, math.nan, 1.0), "expected finite weights >= 0 that are not all zero, got 1, nan, 1$"),
        ((1.0, math.inf, 1.0), "expected finite weights >= 0 that are not all zero, got 1, inf, 1$"),
        ("2,one,1", "expected a number for option weights of method 'weighted', got 'one'"),
        ("2,,1", "expected a number for option weights of method 'weighted', got ''"),
    ],
)
def test_unfit_weights_are_refused(weights: Any, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        COMBINERS.create("weighted", evidence(), weights=weights)


def test_unknown_methods_and_options_are_answered_with_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"unknown method 'averge'; did you mean 'average'\? Known: "):
        COMBINERS.create("averge", evidence())
    with pytest.raises(UnknownName, match="unknown option of method 'weighted' 'weight'; did you mean 'weights'"):
        COMBINERS.create("weighted", evidence(), weight="1,1,1")
    with pytest.raises(UnknownName, match=r"unknown option of method 'average' 'weights'. Known: none"):
        COMBINERS.create("average", evidence(), weights="1,1,1")


def test_evidence_of_images_keeps_the_pixels_of_those_images() -> None:
    one = evidence()
    chosen = np.arange(10) % 2 == 0
    part = one.of_images(chosen)
    assert set(part.image_p.tolist()) == {0, 2, 4, 6, 8}
    assert len(part.image_p) == int(chosen[one.image_p].sum())
    assert part.members == 3
    assert (part.true_probs_pm == one.true_probs_pm[one.image_p % 2 == 0]).all()
    assert (part.labels_p == one.labels_p[one.image_p % 2 == 0]).all()
