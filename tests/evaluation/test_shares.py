"""Scores between 0 and 1 of one system, and differences that stay within the intervals of both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.evaluation.paired import Draws
from ensemble.evaluation.proportion_intervals import class_intervals
from ensemble.evaluation.share_differences import ShareDifference
from ensemble.evaluation.shares import Shares


def random_shares(seed: int, groups: int = 12) -> Shares:
    """Scores of two classes near 0, which a few groups decide."""
    random = np.random.default_rng(seed)
    left_out_gk = np.clip(0.03 + 0.02 * random.standard_t(1.5, (groups, 2)), 0.0005, 0.2)
    return Shares(left_out_gk.mean(0), left_out_gk, np.full(2, groups))


def test_the_interval_is_that_of_the_mean_over_the_classes() -> None:
    both = random_shares(0)
    mean, *each = class_intervals(both.whole_k, both.left_out_gk, [12, 12], 0.9)
    assert both.interval(0.9) == mean
    assert [both.only(k).interval(0.9) for k in range(2)] == [
        class_intervals(both.whole_k[[k]], both.left_out_gk[:, [k]], [12], 0.9)[0] for k in range(2)
    ]
    assert [one.low for one in each] == pytest.approx([both.only(k).interval(0.9).low for k in range(2)])
    found = replace(both, found_k=np.array([3, 4]), bounded=True).of([1])
    assert (found.bounded, found.holders_k, found.spread_k) == (True, [12], [4])
    assert both.spread_k is both.holders_k


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 0.95, 0.99]))
def test_bounded_differences_agree_with_the_p_value(seed: int, level: float) -> None:
    one, other = random_shares(seed), random_shares(seed + 1)
    free = ShareDifference(one, other).interval(level)
    difference = ShareDifference(*(replace(part, bounded=True) for part in (one, other)))
    found, p = difference.interval(level), difference.p_value()
    assert free.low <= found.low <= difference.centre <= found.high <= free.high
    assert found.high <= max(one.interval(level).high - other.interval(level).low, 0)
    assert found.low >= min(one.interval(level).low - other.interval(level).high, 0)
    if abs(p - (1 - level)) > 1e-3:
        assert (p < 1 - level) == (found.low > 0 or found.high < 0)


@pytest.mark.parametrize(("groups", "found"), [(12, 0.05), (25, 0.05), (25, 0.5)])
def test_equal_systems_that_find_few_objects_seldom_differ(groups: int, found: float) -> None:
    random, differ = np.random.default_rng(groups), 0
    draws = Draws.of([f"{group:02d}" for group in range(groups)], resamples=1)
    true_g = 1 + random.poisson(2, groups)
    for _ in range(200):
        hits_2g = random.binomial(true_g, found, (2, groups))
        said_2g = hits_2g + random.poisson(true_g * (1 - found), (2, groups))
        one, other = (
            draws.objects(np.stack([hits_g, said_g, hits_g, true_g], axis=-1)[:, None])
            for hits_g, said_g in zip(hits_2g, said_2g, strict=True)
        )
        differ += one.minus(other, 1).p_value() < 0.05
    assert differ <= 17  # 10 expected at 5 %; with the groups that hold objects in place of those found it was over 20


def test_one_object_more_does_not_reach_far_up() -> None:
    counts_nk4 = np.zeros((40, 1, 4), np.int64)
    counts_nk4[..., 3] = 3  # three true objects in each group
    one_nk4 = counts_nk4.copy()
    one_nk4[7, 0, :3] = 1  # one of 120 is found
    draws = Draws.of([f"g{row:02d}" for row in range(40)], resamples=1)
    found = draws.objects(one_nk4).minus(draws.objects(counts_nk4), 1).interval(0.95)
    assert found.low < 0 < found.high < 0.15  # it was 0.99
    assert draws.objects(one_nk4).minus(draws.objects(counts_nk4), 0).interval(0.95) == found


def test_bounded_differences_hold_a_planted_truth_near_0() -> None:
    random, held, widths = np.random.default_rng(3), 0, list[float]()
    draws = Draws.of([f"g{row:02d}" for row in range(40)], resamples=1)
    for _ in range(60):
        true_n = np.maximum(1, random.poisson(3, 40))
        one, other = (
            draws.objects(np.stack([found_n := random.binomial(true_n, mean), found_n, found_n, true_n], -1)[:, None])
            for mean in (0.02, 0.02)
        )
        limits = one.minus(other, 1).interval(0.95)
        held += limits.low <= 0 <= limits.high
        widths.append(limits.high - limits.low)
    assert held >= 52  # of 60, at 95 %: fewer have a probability of 0.3 %
    assert max(widths) < 0.5  # up to 1.0 without the bounds
