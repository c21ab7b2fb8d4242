"""The contract of every registered way of combining, with every choice of its options, and the weights a user gives."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from ensemble.combining import COMBINERS
from ensemble.combining.fit_data import FitData
from ensemble.combining.registry import title, variants
from ensemble.combining.serialization import KINDS, load_combiner
from ensemble.core.errors import EnsError, UnknownName

WEIGHTS: dict[str, dict[str, Any]] = {"weighted": {"weights": (0.5, 0.2, 0.3)}}
CASES = [*variants(), *WEIGHTS.items()]
# Each costs a fit of all the others; on fewer pixels.
SIZES = {"auto": 150}


def fit_data(seed: int = 0, members: int = 3, classes: int = 4, pixels: int = 300) -> FitData:
    """Members of rising quality on 10 images of 5 groups."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, pixels).astype(np.uint8)
    logits = random.normal(size=(members, classes, pixels))
    logits[:, labels, np.arange(pixels)] += 0.5 + 0.7 * np.arange(members)[:, None]
    near = 0.5 * logits + random.normal(size=logits.shape)
    tables = [np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in (logits, near)]
    images = np.sort(random.integers(0, 10, pixels)).astype(np.int32)
    return FitData(tables[0].astype(np.float32), images, labels, np.arange(10) // 2, tables[1].astype(np.float32))


def of(name: str) -> FitData:
    return fit_data(pixels=SIZES.get(name, 300))


def options_of(name: str, options: dict[str, Any], order: list[int]) -> dict[str, Any]:
    return {key: tuple(value[m] for m in order) for key, value in options.items()} if name == "weighted" else options


def probabilities(one: FitData) -> Any:
    """The pixels as one image of one row, for the call on arrays."""
    return one.probs_mcp[:, None, :, None]


each_method = pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value) if value else "-")


def test_the_methods_are_there_from_simple_to_elaborate() -> None:
    known = ["average", "weighted", "vote", "geometric", "learned", "greedy", "per-class", "stacking", "auto"]
    assert [name for name in COMBINERS if name in known] == known
    assert set(KINDS) == {"pool", "stacking", "vote", "cascade"}


def test_every_choice_of_an_option_is_a_variant_but_methods_with_required_options_have_none() -> None:
    made = variants()
    assert ("geometric", {"exponents": "uniform"}) in made
    assert ("geometric", {"exponents": "learned"}) in made
    assert ("learned", {"objective": "soft-miou"}) in made
    assert "weighted" not in {name for name, _ in made}
    assert title("geometric", {"exponents": "uniform"}) == "geometric"
    assert title("geometric", {"exponents": "learned"}) == "geometric(exponents=learned)"


@each_method
def test_gives_probabilities_decisions_and_weights(name: str, options: dict[str, Any]) -> None:
    shown = of(name)
    made = COMBINERS.create(name, shown, **options)
    pooled = made.on_pixels(shown)
    assert pooled.shape == (4, shown.pixels)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled.sum(0), 1, atol=1e-5)
    assert pooled.min() >= 0
    assert (made.decide(pooled[None, :, None])[0, 0] == pooled.argmax(0)).all()
    assert made.weights_m.shape == (3,)
    assert made.weights_m.sum() == pytest.approx(1)
    assert made.classes == 4
    assert COMBINERS.summary(name).endswith(".")


@each_method
def test_is_deterministic_and_leaves_the_fit_data_alone(name: str, options: dict[str, Any]) -> None:
    shown, untouched = of(name), of(name)
    first, second = (COMBINERS.create(name, shown, **options) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert (shown.probs_mcp == untouched.probs_mcp).all()
    assert (shown.labels_p == untouched.labels_p).all()


@each_method
def test_is_read_back_from_json_to_the_last_bit(name: str, options: dict[str, Any]) -> None:
    shown = of(name)
    made = COMBINERS.create(name, shown, **options).calibrated(np.array([2.0, 1, 0.5]), 1.3, np.arange(4) / 7)
    again = load_combiner(json.loads(json.dumps(made.to_json())))
    assert type(again) is type(made)
    assert again.to_json() == made.to_json()
    pooled = made.on_pixels(shown)
    assert (again.on_pixels(shown) == pooled).all()
    assert (again.decide(pooled[None, :, None]) == made.decide(pooled[None, :, None])).all()


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2]])
@each_method
def test_permuting_members_permutes_their_weights(name: str, options: dict[str, Any], order: list[int]) -> None:
    one = of(name)
    made = COMBINERS.create(name, one, **options)
    moved = COMBINERS.create(name, one.of_members(order), **options_of(name, options, order))
    np.testing.assert_allclose(moved.weights_m, made.weights_m[order], atol=3e-3)
    np.testing.assert_allclose(moved.on_pixels(one.of_members(order)), made.on_pixels(one), atol=3e-3)


@each_method
def test_the_order_of_pixels_does_not_matter(name: str, options: dict[str, Any]) -> None:
    one = of(name)
    made = [COMBINERS.create(name, each, **options) for each in (one, one.of_pixels(slice(None, None, -1)))]
    np.testing.assert_allclose(made[0].on_pixels(one), made[1].on_pixels(one), atol=3e-3)


@each_method
def test_relabelling_classes_relabels_the_outcome(name: str, options: dict[str, Any]) -> None:
    one, order = of(name), np.array([2, 0, 3, 1])
    assert one.near_mcp is not None
    labels = np.argsort(order)[one.labels_p].astype(np.uint8)
    other = FitData(one.probs_mcp[:, order], one.image_p, labels, one.group_n, one.near_mcp[:, order])
    made, moved = (COMBINERS.create(name, each, **options) for each in (one, other))
    np.testing.assert_allclose(moved.on_pixels(other), made.on_pixels(one)[order], atol=3e-3)


@each_method
def test_identical_members_pool_to_the_decisions_of_the_member(name: str, options: dict[str, Any]) -> None:
    one = of(name).of_members([2, 2, 2])
    made = COMBINERS.create(name, one, **options)
    if name == "stacking" or made.chosen.startswith("stacking"):
        # A regression may move even a single member's classes; to the same place whatever number of copies it has.
        alone = COMBINERS.create("stacking", one.of_members([0]), strength=1e-7, **options)
        copies = COMBINERS.create("stacking", one, strength=1e-7, **options)
        np.testing.assert_allclose(copies.on_pixels(one), alone.on_pixels(one.of_members([0])), atol=2e-2)
    else:
        assert (made.on_pixels(one).argmax(0) == one.probs_mcp[0].argmax(0)).all()


@each_method
def test_idle_members_are_as_if_left_out(name: str, options: dict[str, Any]) -> None:
    one = of(name)
    pair = one.of_members([0, 2])
    made = COMBINERS.create(name, pair, **options_of(name, options, [0, 2]))
    wide = made.among([0, 2], 3)
    assert wide.weights_m[1] == 0
    np.testing.assert_allclose(wide.on_pixels(one), made.on_pixels(pair), atol=1e-6)
    assert wide.only([0, 2]).to_json() == made.to_json()


@pytest.mark.parametrize("size", [1, 2, 3])
@each_method
def test_any_batch_size_gives_the_same_bits(name: str, options: dict[str, Any], size: int) -> None:
    made = COMBINERS.create(name, of(name), **options).calibrated(np.array([2.0, 1, 0.5]), 1.3)
    logits = np.random.default_rng(1).normal(scale=2, size=(3, 7, 4, 5, 6))
    probs = (np.exp(logits) / np.exp(logits).sum(2, keepdims=True)).astype(np.float32)
    parts = [made(probs[:, start : start + size]) for start in range(0, 7, size)]
    assert (np.concatenate(parts) == made(probs)).all()


@each_method
def test_one_group_or_one_class_is_enough_to_fit(name: str, options: dict[str, Any]) -> None:
    one = of(name)
    for part in (one.of_images(np.arange(10) < 2), one.of_pixels(np.flatnonzero(one.labels_p == 1))):
        pooled = COMBINERS.create(name, part, **options).on_pixels(part)
        assert np.isfinite(pooled).all()


# ---------------------------------------------------------------- weights and refusals


def test_average_weighs_all_alike() -> None:
    np.testing.assert_allclose(COMBINERS.create("average", fit_data()).weights_m, 1 / 3)


def test_learned_prefers_the_better_member() -> None:
    assert COMBINERS.create("learned", fit_data()).weights_m.argmax() == 2


def test_weights_are_normalised_and_read_from_text() -> None:
    pool = COMBINERS.create("weighted", fit_data(), weights="2,1,1")
    np.testing.assert_allclose(pool.weights_m, [0.5, 0.25, 0.25])
    np.testing.assert_allclose(COMBINERS.create("weighted", fit_data(), weights=(0, 3, 1)).weights_m, [0, 0.75, 0.25])


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ((), "expected 3 weights, one per member, got 0; write for example method "),
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
        COMBINERS.create("weighted", fit_data(), weights=weights)


def test_unknown_methods_and_options_are_answered_with_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"unknown method 'averge'; did you mean 'average'\? Known: "):
        COMBINERS.create("averge", fit_data())
    with pytest.raises(UnknownName, match="unknown option 'weight' of method 'weighted'; did you mean 'weights'"):
        COMBINERS.create("weighted", fit_data(), weight="1,1,1")
    with pytest.raises(UnknownName, match=r"unknown option 'weights' of method 'average'. Known: none"):
        COMBINERS.create("average", fit_data(), weights="1,1,1")


def test_a_kind_of_a_later_version_is_refused_and_none_is_a_pool() -> None:
    content = COMBINERS.create("average", fit_data()).to_json()
    assert load_combiner({key: value for key, value in content.items() if key != "kind"}).to_json() == content
    with pytest.raises(
        EnsError, match="expected an ensemble of the kind pool, stacking, vote, cascade, got 'attention'"
    ):
        load_combiner(content | {"kind": "attention"})


@pytest.mark.parametrize("name", ["average", "vote", "stacking"])
def test_damaged_parameters_are_told(name: str) -> None:
    content = COMBINERS.create(name, fit_data()).to_json()
    for key in set(content) - {"kind", "chosen"}:
        with pytest.raises(EnsError, match=r"the stored pool is damaged|^expected "):
            load_combiner({other: value for other, value in content.items() if other != key})
        with pytest.raises(EnsError, match=r"the stored pool is damaged|^expected "):
            load_combiner(content | {key: "x"})


# ---------------------------------------------------------------- parts of fit_data


def test_fit_data_of_images_keeps_the_pixels_of_those_images() -> None:
    one = fit_data()
    chosen = np.arange(10) % 2 == 0
    part = one.of_images(chosen)
    assert set(part.image_p.tolist()) == {0, 2, 4, 6, 8}
    assert part.pixels == int(chosen[one.image_p].sum())
    assert part.members == 3
    assert (part.probs_mcp == one.probs_mcp[:, :, one.image_p % 2 == 0]).all()
    assert (part.labels_p == one.labels_p[one.image_p % 2 == 0]).all()


def test_inner_splits_keep_groups_whole_and_cover_every_pixel_once() -> None:
    one = fit_data()
    splits = one.splits(3)
    assert len(splits) == 3
    assert sum(held.pixels for _, held in splits) == one.pixels
    for fit, held in splits:
        assert fit.pixels + held.pixels == one.pixels
        groups = [set(part.group_n[part.image_p].tolist()) for part in (fit, held)]
        assert not groups[0] & groups[1]
    assert one.of_images(np.arange(10) < 2).splits(3) == []


def test_tempered_fit_data_is_that_of_a_softmax_of_divided_logits() -> None:
    one = fit_data()
    warm = one.tempered(np.array([1.0, 2.0, 0.5]))
    powers = one.probs_mcp.astype(np.float64) ** np.array([1, 0.5, 2])[:, None, None]
    np.testing.assert_allclose(warm.probs_mcp, powers / powers.sum(1, keepdims=True), rtol=1e-5)
    assert one.tempered(np.ones(3)) is one
