"""Promises: thresholds against sorting and hand-worked groups, refusals, and what the next groups get on average."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.evaluation.promises import (
    NEAR_ONE,
    NEAR_ZERO,
    GroupCounts,
    abstain,
    cover,
    error_by_share,
    fewest_groups,
    holds,
    shares_kept,
)


def counts_of(thresholds: Any, groups: dict[int, Any]) -> GroupCounts:
    counts = GroupCounts(np.asarray(thresholds, np.float32))
    for group, values in groups.items():
        counts.add(group, np.asarray(values, np.float32))
    return counts


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.booleans())
def test_counts_are_those_of_comparing_every_pixel_in_any_order(seed: int, near_one: bool) -> None:
    random, thresholds = np.random.default_rng(seed), NEAR_ONE if near_one else NEAR_ZERO
    parts = [(int(random.integers(3)), random.random(random.integers(1, 30), np.float32) ** 3) for _ in range(6)]
    parts.append((0, thresholds[[0, 5, -1]]))  # pixels at a threshold reach it
    counts = GroupCounts(thresholds)
    for group, values in parts:
        counts.add(group, values)
    for group, found in zip(range(3), counts.reaching([0, 1, 2]), strict=True):
        values = np.concatenate([np.zeros(0, np.float32), *(one for name, one in parts if name == group)])
        assert found.tolist() == [(values >= threshold).sum() for threshold in thresholds]
    assert counts.groups == sorted({group for group, _ in parts})


def test_the_next_group_is_taken_to_be_as_bad_as_the_worst() -> None:
    # Ten groups that keep their promise with 1 to spare: the worst may break it by 4 (-9 + 4 + 4 < 0), not by 5.
    assert holds(np.array([[-1.0, -1.0]] * 9 + [[4.0, 5.0]])).tolist() == [True, False]


def test_eleven_groups_by_hand() -> None:
    """100 pixels each at 0.9 and at 0.5. All groups: 2 and 10 errors; the last: 12 and 10."""
    thresholds = [0.0, 0.6, 1.0]
    wrong = {g: [0.9] * (12 if g == 10 else 2) + [0.5] * 10 for g in range(11)}
    right = {g: [0.9] * (88 if g == 10 else 98) + [0.5] * 90 for g in range(11)}
    # from 0.6 on: 10 (2 - 100 e) + 2 (12 - 100 e) <= 0, so e >= 44 / 1200; from 0.0 on: 10 * 12 + 2 * 22 over 2400
    sides = counts_of(thresholds, right), counts_of(thresholds, wrong)
    assert abstain(*sides, 43 / 1200).threshold is None
    found = abstain(*sides, 44 / 1200)
    assert (found.threshold, found.groups) == (pytest.approx(0.6), 11)
    assert (found.kept, found.wrong) == (0.5, 32 / 1100)
    everything = abstain(*sides, 164 / 2400)
    assert (everything.threshold, everything.kept, everything.wrong) == (0.0, 1.0, 142 / 2200)
    assert abstain(*sides, 163 / 2400).threshold == found.threshold
    np.testing.assert_array_equal(shares_kept(*sides, np.array([0.01, 0.05, 0.1])), [np.nan, 0.5, 1])
    share, error = error_by_share(*sides)
    assert (share.tolist(), error.tolist()) == ([0.5, 1.0], [32 / 1100, 142 / 2200])


def test_a_class_by_hand() -> None:
    """Twelve groups; in one of them the class has four pixels, of which one is hard. Groups count alike."""
    groups: dict[int, Any] = {g: [0.5] * 10 for g in range(11)} | {11: [0.1, 0.5, 0.5, 0.5]}
    true = counts_of([0.0, 0.2, 0.4, 0.6], groups)
    # missed from 0.2 and 0.4 on: 1/4 in one group, and as much in the next one: 2/4 <= 13 (1 - c)
    assert cover(true, 1 - 0.51 / 13).threshold is None  # a promise of 96 % takes 25 groups
    assert cover(true, 0.91).threshold == pytest.approx(0.4)
    assert cover(true, 0.91).groups == 12
    hard = counts_of([0.0, 0.2, 0.4, 0.6], groups | {10: [0.1] * 9 + [0.5], 11: [0.1] * 9 + [0.5]})
    assert cover(hard, 0.9).threshold == 0.0  # 2 * 0.9 + 0.9 > 13 * 0.1


@pytest.mark.parametrize(("coverage", "groups"), [(0.5, 10), (0.9, 10), (0.95, 19), (0.98, 49), (0.99, 99)])
def test_one_group_in_as_many_may_be_missed(coverage: float, groups: int) -> None:
    assert fewest_groups(coverage) == groups
    alike: dict[int, Any] = {g: [0.8] for g in range(groups)}
    assert cover(counts_of(NEAR_ZERO, alike), coverage).threshold is not None
    alike.pop(0)
    refused = cover(counts_of(NEAR_ZERO, alike), coverage)
    assert (refused.threshold, refused.groups) == (None, groups - 1)


def test_nothing_is_promised_below_ten_groups() -> None:
    """However many pixels they have; and a threshold that nine groups reach promises nothing."""
    nine = counts_of(NEAR_ONE, {g: np.full(1000, 0.9) for g in range(9)})
    nothing = counts_of(NEAR_ONE, {})
    assert (abstain(nine, nothing, 0.5).threshold, abstain(nine, nothing, 0.5).groups) == (None, 9)
    nine.add(9, np.array([0.1], np.float32))
    found = abstain(nine, nothing, 0.5)
    assert (found.threshold, found.kept, found.wrong) == (0.0, 1.0, 0.0)
    bad = counts_of(NEAR_ONE, {9: np.full(100_000, 0.1)})
    assert abstain(nine, bad, 0.5).threshold is None
    assert abstain(nothing, nothing, 0.5).threshold is None
    assert cover(counts_of(NEAR_ZERO, {}), 0.9).threshold is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.integers(10, 25))
def test_larger_promises_keep_less(seed: int, groups: int) -> None:
    """A smaller error never keeps more pixels, a larger coverage never lowers a set less, and groups have no order."""
    random = np.random.default_rng(seed)
    values = {g: random.random(40) ** 0.5 for g in range(groups)}
    right = {g: one[random.random(40) < one] for g, one in values.items()}
    wrong = {g: np.setdiff1d(one, right[g]) for g, one in values.items()}
    sides = counts_of(NEAR_ONE, right), counts_of(NEAR_ONE, wrong)
    kept = np.nan_to_num(shares_kept(*sides, np.linspace(0.01, 0.6, 12)))
    assert (np.diff(kept) >= 0).all()
    thresholds = [cover(counts_of(NEAR_ZERO, values), c).threshold for c in (0.5, 0.7, 0.9)]
    assert thresholds == sorted(thresholds, reverse=True)  # pyright: ignore[reportArgumentType]
    turned = {groups - g: one for g, one in values.items()}
    assert cover(counts_of(NEAR_ZERO, turned), 0.7).threshold == thresholds[1]


def test_the_next_groups_get_what_was_promised() -> None:
    """Groups that differ: on average over 300 draws of 15 groups the others miss 10 % of a class, and 5 % are wrong."""
    random, covered, errors = np.random.default_rng(0), list[float](), list[float]()
    shift = 0.5 * random.normal(size=(300, 1))
    logit = 2 * random.normal(size=(300, 200)) + 2.5
    sure = (1 / (1 + np.exp(-logit))).astype(np.float32)
    right = random.random(sure.shape) < 1 / (1 + np.exp(-logit - shift))
    for _ in range(300):
        order = random.permutation(300)
        seen, new = order[:15].tolist(), order[15:]
        threshold = cover(counts_of(NEAR_ZERO, {g: sure[g] for g in seen}), 0.9).threshold
        assert threshold is not None
        covered.append(float((sure[new] >= np.float32(threshold)).mean()))
        sides = [counts_of(NEAR_ONE, {g: sure[g][side[g]] for g in seen}) for side in (right, ~right)]
        least = abstain(sides[0], sides[1], 0.05).threshold
        assert least is not None
        errors.append(float((~right[new])[sure[new] >= np.float32(least)].mean()))
    assert np.mean(covered) == pytest.approx(0.905, abs=0.007)
    assert np.mean(errors) == pytest.approx(0.046, abs=0.004)
