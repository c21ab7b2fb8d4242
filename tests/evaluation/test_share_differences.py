"""Intervals of differences of IoU: against the logit interval, a brute search, the p-value, and planted truths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit, stdtrit

from ensemble.evaluation.share_differences import ShareDifference
from ensemble.evaluation.shares import Shares


def shares(seed: int, groups: int = 30, classes: int = 3, noise: float = 0.01) -> Shares:
    """Scores that change from group to group."""
    random = np.random.default_rng(seed)
    left_out_gk = np.clip(random.uniform(0.2, 0.9, classes) + random.normal(0, noise, (groups, classes)), 0.01, 0.99)
    return Shares(left_out_gk.mean(0), left_out_gk, np.full(classes, groups))


def covariance(difference: ShareDifference) -> Any:
    """Jackknife covariance of the logits of both systems, written out."""
    left_out_gn = logit(np.concatenate([difference.one.left_out_gk, difference.other.left_out_gk], axis=1))
    groups = len(left_out_gn)
    changes_gn = left_out_gn - left_out_gn.mean(0)
    return changes_gn.T @ changes_gn * (groups - 1) / groups


def test_against_a_score_that_never_changes_it_is_the_logit_interval() -> None:
    one = shares(1, classes=1)
    fixed = Shares(np.array([0.3]), np.full((30, 1), 0.3), np.array([30]))
    difference = ShareDifference(one, fixed)
    margin = stdtrit(difference.freedom, 0.975) * math.sqrt(covariance(difference)[0, 0])
    found, middle = difference.interval(0.95), logit(one.whole_k[0])
    assert (found.low + 0.3, found.high + 0.3) == pytest.approx((expit(middle - margin), expit(middle + margin)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.003, 0.02])
def test_the_limits_are_extremes_over_the_ellipsoid(seed: int, noise: float) -> None:
    difference = ShareDifference(shares(seed, noise=noise), shares(seed + 10, noise=noise))
    whole_n = np.concatenate([difference.one.whole_k, difference.other.whole_k])
    weights_n = np.repeat([1 / 3, -1 / 3], 3)
    root_nn = np.linalg.cholesky(covariance(difference))
    t, random = float(stdtrit(difference.freedom, 0.975)), np.random.default_rng(0)

    def value(direction_n: Any) -> float:
        unit_n = direction_n / np.linalg.norm(direction_n)
        return float(weights_n @ expit(logit(whole_n) + t * root_nn @ unit_n))

    lows = [minimize(value, random.normal(size=6)).fun for _ in range(8)]
    highs = [-minimize(lambda direction_n: -value(direction_n), random.normal(size=6)).fun for _ in range(8)]
    found = difference.interval(0.95)
    width = max(highs) - min(lows)
    assert found.low == pytest.approx(min(lows), abs=0.01 * width)
    assert found.high == pytest.approx(max(highs), abs=0.01 * width)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.001, 0.05))
def test_p_and_interval_never_disagree(seed: int, noise: float) -> None:
    difference = ShareDifference(shares(seed, noise=noise), shares(seed + 1, noise=noise))
    p = difference.p_value()
    assert 0 <= p <= 1
    for level in (0.5, 0.95, 0.99):
        found = difference.interval(level)
        if abs(p - (1 - level)) > 1e-3:
            assert (p < 1 - level) == (found.low > 0 or found.high < 0)


def test_pairing_counts() -> None:
    one = shares(3, noise=0.03)
    assert ShareDifference(one, one).interval(0.95).low == 0 == ShareDifference(one, one).interval(0.95).high
    assert ShareDifference(one, one).p_value() == 1.0
    moved = Shares(expit(logit(one.whole_k) - 0.05), expit(logit(one.left_out_gk) - 0.05), one.holders_k)
    near = ShareDifference(one, moved)
    assert near.interval(0.95).low > 0
    assert near.p_value() < 1e-6
    mixed = Shares(moved.whole_k, moved.left_out_gk[::-1], moved.holders_k)
    assert ShareDifference(one, mixed).interval(0.95).low < 0


def test_a_class_that_few_groups_hold_has_a_long_side() -> None:
    random = np.random.default_rng(0)
    left_out_gk = np.tile([0.8, 0.1], (40, 1))
    left_out_gk[:5, 1] += random.normal(0, 0.02, 5)
    left_out_gk[:, 0] += random.normal(0, 0.001, 40)
    finds = Shares(np.array([0.8, 0.1]), left_out_gk, np.array([40, 5]))
    blind = Shares(np.array([0.8, 0.0]), np.stack([left_out_gk[:, 0], np.zeros(40)], axis=1), np.array([40, 5]))
    difference = ShareDifference(finds, blind)
    assert difference.freedom <= 4  # five groups hold the class that decides
    found = difference.interval(0.95)
    assert found.high - 0.05 > 1.4 * (0.05 - found.low)


def test_a_class_of_one_group_may_have_any_score() -> None:
    left_out_gk = np.tile([0.8, 0.5], (20, 1)) + np.random.default_rng(0).normal(0, 1e-4, (20, 2))
    left_out_gk[7, 1] = np.nan
    one = Shares(np.array([0.8, 0.5]), left_out_gk, np.array([20, 1]))
    other = Shares(np.array([0.6, 0.3]), left_out_gk - 0.2, np.array([20, 1]))
    found = ShareDifference(one, other).interval(0.95)
    assert (found.low, found.high) == pytest.approx((0.1 - 0.5, 0.1 + 0.5), abs=0.01)
    assert ShareDifference(one, other).p_value() == pytest.approx(1.0)
    alone = ShareDifference(one.only(1), other.only(1))
    assert math.isnan(alone.interval(0.95).low)
    assert math.isnan(alone.p_value())
    equal = Shares(np.array([0.6, 0.5]), left_out_gk - [0.2, 0.0], np.array([20, 1]))
    assert ShareDifference(one, equal).interval(0.95).low > 0.09


def test_hits_in_one_group_only_leave_the_score_open() -> None:
    left_out_gk = np.full((20, 1), 0.2)
    left_out_gk[3] = 0.0
    one = Shares(np.array([0.2]), left_out_gk, np.array([10]))
    none = Shares(np.array([0.0]), np.zeros((20, 1)), np.array([10]))
    found = ShareDifference(one, none).interval(0.95)
    assert 0 <= found.low < 0.001
    assert found.high > 0.99
    assert ShareDifference(none, none).interval(0.95).high == 0


def test_absent_classes_are_left_out() -> None:
    one, other = shares(1), shares(2)
    gone = [
        Shares(np.append(each.whole_k, np.nan), np.c_[each.left_out_gk, np.full(30, np.nan)], np.array([30] * 3 + [0]))
        for each in (one, other)
    ]
    found, expected = (ShareDifference(*pair).interval(0.9) for pair in (gone, (one, other)))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-3)
    assert math.isnan(ShareDifference(gone[0].only(3), gone[1].only(3)).interval(0.9).low)
