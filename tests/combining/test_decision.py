"""The decision for the metric: values by hand and by brute force, never below the argmax, and gains that hold."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.combining import Pool
from ensemble.combining.decision import Decision, Score, expected_of, fit_decision
from ensemble.combining.pixel_sample import PixelSample
from ensemble.combining.serialization import load_combiner
from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import dice_per_class, mean_iou
from tests.combining.test_offsets import simulated

HAND = np.array([[0.6, 0.6, 0.9, 0.9, 1.0, 1.0], [0.4, 0.4, 0.1, 0.1, 0.0, 0.0]], np.float32)


def by_counting(probs: Any, decided: Any, score: Score) -> Any:
    """Expected scores of class maps (maps, classes): sums over pixels, written out."""
    chosen = decided[:, None] == np.arange(len(probs))[:, None]
    hits, true, many = (chosen * probs).sum(2), probs.sum(1), chosen.sum(2)
    return hits / np.maximum(true + many - hits, 1) if score == "iou" else 2 * hits / np.maximum(true + many, 1)


def confusion(labels: Any, decided: Any, classes: int) -> Any:
    return np.bincount(labels * np.intp(classes) + decided, minlength=classes**2).reshape(classes, classes)


def test_expected_scores_by_hand() -> None:
    """By argmax no pixel is of class 1; given the first two pixels, it has 0.8 hits in a union of 2.2."""
    assert expected_of([HAND], None, "iou").expected_c == pytest.approx([5 / 6, 0])
    rule = fit_decision(lambda: [HAND], "iou")
    assert rule.decide(HAND[None])[0].tolist() == [1, 1, 0, 0, 0, 0]
    found = expected_of([HAND], rule, "iou")
    assert found.expected_c == pytest.approx([3.8 / 5.2, 0.8 / 2.2])
    assert found.sizes_c == pytest.approx([5.2, 2.2])
    assert expected_of([HAND], rule, "dice").expected_c == pytest.approx([2 * 3.8 / 9, 2 * 0.8 / 3])


@pytest.mark.parametrize("score", ["iou", "dice"])
def test_the_rule_is_the_derivative_of_the_expected_score(score: Score) -> None:
    """A sliver of a pixel that joins a class changes the class's expected score by what the rule compares."""
    probs, _ = simulated(0, [0.6, 0.3, 0.1], 500)
    at = expected_of([probs], None, score)
    hits, many = at.expected_c * at.sizes_c, 1e-4
    hits = hits if score == "iou" else hits / 2
    for share in (0.1, 0.5, 0.9):
        moved_hits = hits + many * share
        sizes = at.sizes_c + many * ((1 - share) if score == "iou" else 1)
        change = ((1 if score == "iou" else 2) * moved_hits / sizes - at.expected_c) / many
        expected = share * (1 + at.expected_c) - at.expected_c if score == "iou" else 2 * share - at.expected_c
        assert change == pytest.approx(expected / at.sizes_c, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("score", ["iou", "dice"])
def test_close_to_the_best_of_all_class_maps(score: Score) -> None:
    """On eight pixels of three classes all 6,561 class maps can be tried; there, one pixel is no small step."""
    maps = np.array(list(product(range(3), repeat=8)))
    short = []
    for seed in range(12):
        probs, _ = simulated(seed, [0.6, 0.3, 0.1], 8)
        rule = fit_decision(lambda probs=probs: [probs], score)
        reached = by_counting(probs, rule.decide(probs[None]), score).mean()
        best = by_counting(probs, maps, score).mean(1).max()
        assert reached <= best + 1e-6
        short.append(best - reached)
    assert np.mean(short) < 0.01
    assert np.median(short) < 0.001


@pytest.mark.parametrize("score", ["iou", "dice"])
def test_two_classes_equal_the_best_threshold(score: Score) -> None:
    probs, _ = simulated(5, [0.9, 0.1], 4000)
    sweep = np.array([probs[1] > threshold for threshold in np.linspace(0, 1, 400)]).astype(int)
    best = by_counting(probs, sweep, score).mean(1).max()
    rule = fit_decision(lambda: [probs], score)
    reached = by_counting(probs, rule.decide(probs[None]), score).mean()
    assert reached == pytest.approx(best, abs=2e-4)
    assert reached > by_counting(probs, probs.argmax(0)[None], score).mean() + 0.01


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 5), st.integers(1, 60), st.floats(0.1, 6), st.floats(0, 4), st.integers(0, 2**16),
    st.sampled_from(["iou", "dice"]),
)  # fmt: skip
def test_never_below_the_argmax(classes: int, pixels: int, spread: float, skew: float, seed: int, score: Score) -> None:
    """If the probabilities are right, the expected mean score is at least that of the argmax, whatever they are."""
    random = np.random.default_rng(seed)
    logits = spread * random.normal(size=(classes, pixels)) - skew * np.arange(classes)[:, None]
    probs = (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32)
    rule = fit_decision(lambda: [probs], score)
    maps = np.stack([rule.decide(probs[None])[0], probs.argmax(0)])
    of_rule, of_argmax = by_counting(probs, maps, score).mean(1)
    assert of_rule >= of_argmax - 1e-5


@pytest.mark.parametrize("score", ["iou", "dice"])
def test_gains_hold_on_pixels_that_were_not_used(score: Score) -> None:
    """The decision is fitted to some pixels and scored with the labels of others."""
    shares = [0.9, 0.08, 0.02]
    rule = fit_decision(lambda: [simulated(1, shares, 20_000)[0]], score)
    probs, labels = simulated(2, shares, 20_000)
    tables = [confusion(labels, each, 3) for each in (rule.decide(probs[None])[0], probs.argmax(0))]
    of_rule, of_argmax = (mean_iou(each) if score == "iou" else dice_per_class(each).mean() for each in tables)
    assert of_rule > of_argmax + 0.01
    promised = expected_of([probs], rule, score).expected_c.mean()
    assert of_rule == pytest.approx(promised, abs=0.02)


@pytest.mark.parametrize("score", ["iou", "dice"])
@pytest.mark.parametrize(("spread", "skew"), [(0.2, 0.3), (0.5, 1.0), (0.2, 2.0)])
def test_weak_probabilities_still_reach_the_best_threshold(spread: float, skew: float, score: Score) -> None:
    """Here whole steps between expected scores jump to and fro, and nothing better than the argmax is found."""
    logits = spread * np.random.default_rng(1).normal(size=(2, 5000)) - skew * np.arange(2)[:, None]
    probs = (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32)
    sweep = (probs[1] > np.quantile(probs[1], np.linspace(0, 1, 400))[:, None]).astype(int)
    best = by_counting(probs, sweep, score).mean(1).max()
    rule = fit_decision(lambda: [probs], score)
    assert by_counting(probs, rule.decide(probs[None]), score).mean() == pytest.approx(best, abs=1e-3)


def test_batches_give_what_one_array_gives() -> None:
    probs, _ = simulated(3, [0.8, 0.15, 0.05], 3000)
    whole = fit_decision(lambda: [probs], "iou")
    parts = fit_decision(lambda: iter(np.split(probs, [100, 1700], axis=1)), "iou")
    assert parts.expected_c == pytest.approx(whole.expected_c, rel=1e-9)
    assert parts.sizes_c == pytest.approx(whole.sizes_c, rel=1e-9)


def test_the_argmax_stays_if_nothing_is_better() -> None:
    probs = np.eye(3, dtype=np.float32).repeat(10, 1)
    rule = fit_decision(lambda: [probs], "iou")
    assert rule.decide(probs[None])[0].tolist() == probs.argmax(0).tolist()
    assert not rule.expected_c.any()


def test_a_common_factor_of_the_sizes_changes_nothing() -> None:
    probs, _ = simulated(4, [0.8, 0.2], 1000)
    one, other = (Decision("iou", np.array([0.7, 0.2]), factor * np.array([900.0, 150.0])) for factor in (1, 1e9))
    assert (one.decide(probs[None]) == other.decide(probs[None])).all()


def test_a_pool_keeps_its_decision() -> None:
    pool = Pool.uniform(2, 2).deciding(Decision("iou", np.array([0.8, 0.2]), np.array([1000.0, 50.0])))
    probs = np.array([0.7, 0.3], np.float32).reshape(1, 2, 1, 1)
    assert pool.decide(probs).item() == 1
    read = load_combiner(pool.to_json())
    assert read.to_json() == pool.to_json()
    assert read.decide(probs).item() == 1
    assert read.only([1]).decide(probs).item() == 1
    assert read.deciding(None).decide(probs).item() == 0
    assert "decision" not in read.deciding(None).to_json()


@pytest.mark.parametrize(
    ("score", "expected", "sizes"),
    [
        ("iou", [0.5], [1.0, 2.0]),
        ("iou", [0.5, 1.5], [1.0, 2.0]),
        ("iou", [0.5, 0.5], [1.0, 0.0]),
        ("f1", [0.5], [1.0]),
    ],
)
def test_wrong_parameters_are_refused(score: Any, expected: list[float], sizes: list[float]) -> None:
    with pytest.raises(EnsError, match="expected the score iou or dice, an expected score between 0 and 1"):
        Decision(score, np.array(expected), np.array(sizes))


def test_a_decision_of_other_classes_is_refused() -> None:
    with pytest.raises(EnsError, match="expected a decision of 3 classes, got one of 2"):
        Pool.uniform(2, 3).deciding(Decision.argmax("iou", 2))


@pytest.mark.parametrize("pixels", [1, 7, 8, 9, 100])
def test_a_sample_is_evenly_spaced_however_the_pixels_come(pixels: int) -> None:
    stream = np.arange(2 * pixels, dtype=np.float32).reshape(1, 2, pixels, 1)
    whole, parts = PixelSample(8), PixelSample(8)
    whole.add(stream)
    for first in range(0, pixels, 3):
        parts.add(stream[:, :, first : first + 3])
    assert (whole.probs_cp == parts.probs_cp).all()
    places = whole.probs_cp[0].astype(int)
    step = 1 if pixels <= 8 else int(places[1])
    assert places.tolist() == list(range(0, pixels, step))
    assert pixels / 2 <= step * 8
    assert len(places) <= 8
    assert (whole.probs_cp[1] == places + pixels).all()
