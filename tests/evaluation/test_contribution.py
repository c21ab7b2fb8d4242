"""Shapley values against brute-force permutations, their axioms, and subsets scored by plain averaging."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.evaluation import iou_per_class, mean_iou
from ensemble.evaluation.caveats import ENOUGH_GROUPS, too_few_groups
from ensemble.evaluation.coalitions import Coalitions
from ensemble.evaluation.contribution import contributions

CLASSES = 3


def case(seed: int, members: int = 3, pixels: int = 300, blocks: int = 6) -> tuple[Any, Any, Any]:
    """Members of different quality whose errors are partly shared."""
    random = np.random.default_rng(seed)
    labels = np.append(np.arange(CLASSES), random.choice(CLASSES, pixels - CLASSES, p=[0.6, 0.3, 0.1]))
    truth = labels == np.arange(CLASSES)[:, None]
    quality = np.linspace(0.3, 2, members)[:, None, None]
    logits = quality * truth + random.normal(size=(members, CLASSES, pixels)) + random.normal(size=(CLASSES, pixels))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probs, labels, np.arange(pixels) % blocks


def coalitions_of(probs: Any, labels: Any, blocks: Any, weights: Any = None) -> Coalitions:
    return Coalitions(probs, labels, np.ones(len(labels)) if weights is None else weights, blocks)


def plain_value(probs: Any, labels: Any, subset: int) -> Any:
    """mIoU and IoU per class of the average of a subset, the slow way."""
    chosen = [m for m in range(len(probs)) if subset >> m & 1]
    majority = np.full(len(labels), np.bincount(labels).argmax())
    decided = probs[chosen].mean(0).argmax(0) if chosen else majority
    confusion = np.zeros((CLASSES, CLASSES), int)
    np.add.at(confusion, (labels, decided), 1)
    return np.append(mean_iou(confusion), iou_per_class(confusion))


@pytest.mark.parametrize("seed", range(3))
def test_subsets_are_scored_as_plain_averages(seed: int) -> None:
    probs, labels, blocks = case(seed, members=4)
    subsets = np.random.default_rng(seed).permutation(16).tolist()
    values = coalitions_of(probs, labels, blocks).values(subsets)
    for subset, value in zip(subsets, values, strict=True):
        np.testing.assert_allclose(value, plain_value(probs, labels, subset), rtol=1e-5)


def test_two_members_and_four_pixels_by_hand() -> None:
    # truth 0 0 0 1; one says 0 0 1 1 firmly, the other 0 0 0 0 faintly: together 0 0 1 1
    one, other = [0.9, 0.9, 0.1, 0.1], [0.6, 0.6, 0.6, 0.6]
    probs = np.array([[one, [1 - p for p in one]], [other, [1 - p for p in other]]])
    done = contributions(coalitions_of(probs, np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])))
    firm, faint = (2 / 3 + 1 / 2) / 2, (3 / 4 + 0) / 2  # the empty subset says 0 everywhere, as the faint one does
    assert done.everyone[0] == pytest.approx(firm)
    assert done.nobody[0] == pytest.approx(faint)
    assert done.shapley.value[:, 0].tolist() == pytest.approx([firm - faint, 0])
    assert done.leave_one_out.value[:, 0].tolist() == pytest.approx([firm - faint, 0])
    assert (done.dropped, done.spare) == ((1,), (1,))
    assert done.left[0, 0] == pytest.approx(firm)


@pytest.mark.parametrize("members", [3, 4])
def test_exact_values_equal_all_permutations(members: int) -> None:
    probs, labels, blocks = case(7, members)
    done = contributions(coalitions_of(probs, labels, blocks))
    gains = np.zeros((members, 1 + CLASSES))
    for order in itertools.permutations(range(members)):
        subset = 0
        for member in order:
            gains[member] += plain_value(probs, labels, subset | 1 << member) - plain_value(probs, labels, subset)
            subset |= 1 << member
    np.testing.assert_allclose(done.shapley.value, gains / math.factorial(members), atol=1e-6)
    everyone = (1 << members) - 1
    for member in range(members):
        expected = plain_value(probs, labels, everyone) - plain_value(probs, labels, everyone ^ 1 << member)
        np.testing.assert_allclose(done.leave_one_out.value[member], expected, atol=1e-6)
    assert not done.sampling_error.any()
    assert done.subsets == 2**members


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 5))
def test_shapley_values_sum_to_all_minus_none_and_twins_are_equal(seed: int, members: int) -> None:
    probs, labels, blocks = case(seed, members, 80)
    probs = np.concatenate([probs, probs[:1]])  # the last is a copy of the first
    done = contributions(coalitions_of(probs, labels, blocks), resamples=20)
    np.testing.assert_allclose(done.shapley.value.sum(0), done.everyone - done.nobody, atol=1e-9)
    for part in (done.shapley, done.leave_one_out):
        np.testing.assert_allclose(part.value[0], part.value[-1], atol=1e-9)
    assert sorted([*done.dropped, *(set(range(members + 1)) - set(done.dropped))]) == list(range(members + 1))
    assert len(done.dropped) == members
    np.testing.assert_allclose(done.change.value, done.left - done.everyone, atol=1e-9)


def test_drawn_orders_come_near_and_know_their_error() -> None:
    probs, labels, blocks = case(3, 5)
    exact = contributions(coalitions_of(probs, labels, blocks), resamples=2)
    drawn = contributions(coalitions_of(probs, labels, blocks), resamples=2, rounds=60, seed=1)
    np.testing.assert_allclose(drawn.shapley.value.sum(0), drawn.everyone - drawn.nobody, atol=1e-9)
    distance = np.abs(drawn.shapley.value - exact.shapley.value) / drawn.sampling_error
    assert 0.1 < distance.mean() < 1.6  # about 0.8 for a normal error
    assert distance.max() < 4
    np.testing.assert_allclose(drawn.leave_one_out.value, exact.leave_one_out.value)
    assert drawn.dropped == exact.dropped


def test_beyond_twelve_members_orders_are_drawn() -> None:
    probs, labels, blocks = case(0, 13, 40)
    done = contributions(coalitions_of(probs, labels, blocks), resamples=2)
    assert (done.sampling_error > 0).any()
    assert done.subsets < 2**13
    np.testing.assert_allclose(done.shapley.value.sum(0), done.everyone - done.nobody, atol=1e-9)


def test_weights_stand_for_copies() -> None:
    probs, labels, blocks = case(1)
    copies = np.where(labels == 0, 3, 1)
    index = np.repeat(np.arange(len(labels)), copies)
    weighted = contributions(coalitions_of(probs, labels, blocks, copies.astype(float)))
    repeated = contributions(coalitions_of(probs[:, :, index], labels[index], blocks[index]))
    for name in ("shapley", "leave_one_out", "change"):
        for limit in ("value", "low", "high"):
            np.testing.assert_allclose(
                getattr(getattr(weighted, name), limit), getattr(getattr(repeated, name), limit), atol=1e-6
            )


def test_intervals_hold_the_value_and_shrink_with_more_images() -> None:
    probs, labels, _ = case(2, 3, 2000)
    few, many = (
        contributions(coalitions_of(probs, labels, np.arange(2000) * blocks // 2000)).shapley
        for blocks in (60, ENOUGH_GROUPS)
    )
    assert (few.low < few.value).all()
    assert (few.value < few.high).all()
    larger = contributions(coalitions_of(np.tile(probs, 4), np.tile(labels, 4), np.arange(8000) * 60 // 8000)).shapley
    assert ((larger.high - larger.low)[:, 0] < 0.7 * (few.high - few.low)[:, 0]).all()
    assert np.isfinite(many.low).all()


def test_too_few_blocks_have_no_interval() -> None:
    probs, labels, _ = case(2, 3, 2000)
    for blocks in (2, ENOUGH_GROUPS - 1, ENOUGH_GROUPS):
        done = contributions(coalitions_of(probs, labels, np.arange(2000) * blocks // 2000))
        few = blocks < ENOUGH_GROUPS
        assert done.reason == too_few_groups(blocks)
        for part in (done.shapley, done.leave_one_out, done.change):
            assert np.isfinite(part.value).all()
            assert np.isnan(part.low).all() == np.isnan(part.high).all() == few


def test_one_block_has_no_interval_and_a_class_without_label_no_score() -> None:
    probs, labels, _ = case(4)
    labels = np.where(labels == 2, 1, labels)
    done = contributions(coalitions_of(probs, labels, np.zeros(len(labels), int)))
    assert np.isnan(done.shapley.low).all()
    assert np.isnan(done.shapley.value[:, 3]).all()
    np.testing.assert_allclose(done.shapley.value[:, 0], done.shapley.value[:, 1:3].mean(1), atol=1e-9)


def test_a_member_of_noise_can_go_and_the_only_good_one_cannot() -> None:
    random = np.random.default_rng(5)
    labels = random.integers(0, CLASSES, 600)
    good = 0.8 * (labels == np.arange(CLASSES)[:, None]) + 0.2 / 3
    noise = random.dirichlet(np.full(CLASSES, 0.2), 600).T
    done = contributions(coalitions_of(np.stack([noise, good]), labels, np.arange(600) % 30))
    assert done.spare == (0,)
    assert done.leave_one_out.high[0, 0] < 0 < done.leave_one_out.low[1, 0]


def test_mistakes_are_explained() -> None:
    probs, labels, blocks = case(0, 2, 20)
    with pytest.raises(EnsError, match=r"label, weight and block for each of 20 pixels .* got shapes \(19,\)"):
        coalitions_of(probs, labels[1:], blocks, np.ones(20))
    with pytest.raises(EnsError, match="each of 0 pixels"):
        coalitions_of(probs[:, :, :0], labels[:0], blocks[:0])
    with pytest.raises(EnsError, match="at most 62 members, got 63"):
        coalitions_of(np.repeat(probs[:1], 63, axis=0), labels, blocks)
    with pytest.raises(EnsError, match="at least 2 rounds of orders of the members, got 1"):
        contributions(coalitions_of(probs, labels, blocks), rounds=1)
    with pytest.raises(EnsError, match="at least two members, got 1"):
        contributions(coalitions_of(probs[:1], labels, blocks))
