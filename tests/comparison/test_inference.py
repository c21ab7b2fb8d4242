"""p-values against brute inversion of the intervals, effect sizes and Holm's procedure by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from ensemble.comparison.inference import compare_with_p, effect_size, holm, spread_of_groups
from ensemble.evaluation.intervals import effective_freedom, interval
from ensemble.evaluation.paired import Comparison, PairedDifference


def differences(seed: int, groups: int, shift: float, tail: float = 0.0) -> tuple[Any, Any, float]:
    """Resamples of a mean of groups, the mean without each group, and the mean; a ``tail`` lets few groups decide."""
    random = np.random.default_rng(seed)
    values_g = random.normal(0, 1, groups) * np.exp(tail * random.normal(size=groups)) + shift
    counts_bg = random.multinomial(groups, [1 / groups] * groups, size=999)
    return counts_bg @ values_g / groups, (values_g.sum() - values_g) / (groups - 1), float(values_g.mean())


def judge(samples_b: Any, estimate: float, left_out_g: Any) -> tuple[Comparison, float]:
    return compare_with_p(PairedDifference(estimate, samples_b, left_out_g))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 60), st.floats(-2, 2), st.floats(0, 3))
def test_p_and_interval_never_disagree(seed: int, groups: int, shift: float, tail: float) -> None:
    samples_b, left_out_g, mean = differences(seed, groups, shift, tail)
    found, p = judge(samples_b, mean, left_out_g)
    assert 0 <= p <= 1
    assert (p < 0.05) == (not found.covers_zero)


@pytest.mark.parametrize("shift", [-0.35, -0.2, 0.05, 0.3, 0.45])
def test_p_is_where_the_interval_touches_zero(shift: float) -> None:
    samples_b, left_out_g, mean = differences(1, 40, shift)
    found, p = judge(samples_b, mean, left_out_g)
    limits = interval(samples_b, left_out_g=left_out_g)
    assert (found.low, found.high) == (limits.low, limits.high)
    inside, outside = (interval(samples_b, 1 - p * by, left_out_g=left_out_g) for by in (0.98, 1.02))
    assert inside.low < 0 < inside.high
    assert outside.low > 0 or outside.high < 0


def test_a_system_worse_by_as_much_has_the_same_p() -> None:
    samples_b, left_out_g, mean = differences(2, 20, 0.5)
    assert judge(samples_b, mean, left_out_g)[1] == judge(-samples_b, -mean, -left_out_g)[1]


def test_few_deciding_groups_do_not_make_a_small_p() -> None:
    # One of fifty groups decides, and no resample falls below zero: the resamples alone would give p < 0.001.
    samples_b = np.abs(np.random.default_rng(0).normal(0.5, 0.1, 2000)) + 0.01
    left_out_g = np.r_[0.0, np.full(49, 0.5)]
    assert effective_freedom(left_out_g) < 1.2
    plain = interval(samples_b, left_out_g=left_out_g)
    assert plain.low == samples_b.min() > 0
    found, p = judge(samples_b, 0.5, left_out_g)
    assert p > 0.05
    assert found.low < 0 < found.high


def test_the_continued_tail_is_a_normal_one() -> None:
    samples_b = np.random.default_rng(0).normal(8.0, 1.0, 9999)
    _, p = judge(samples_b, 8.0, np.random.default_rng(1).normal(size=2000))
    assert 1e-16 < p < 1e-12  # 8 standard errors: 1.2e-15 for a normal distribution


def test_nothing_differs_or_nothing_is_known() -> None:
    same_b = np.full(50, 0.5)
    found, p = judge(same_b - same_b, 0.0, np.zeros(5))
    assert (found.low, found.high, p) == (0.0, 0.0, 1.0)
    ties_b = np.r_[np.zeros(40), np.ones(10)]
    assert judge(ties_b, 0.2, np.zeros(5))[1] == 1.0
    # A class that one group alone holds: every resample with it says the same, the others nothing.
    one_b = np.where(np.arange(50) % 3, 0.7, math.nan)
    found, p = judge(one_b - (one_b - 0.25), 0.25, np.array([math.nan, 0.25, 0.25]))
    assert math.isnan(p)
    assert found.covers_zero
    assert found.difference == 0.25
    nothing_b = np.full(50, math.nan)
    assert math.isnan(judge(nothing_b, math.nan, np.full(5, math.nan))[1])


def test_effect_size_is_cohens_d_of_the_groups_and_not_of_their_number() -> None:
    values_g = np.random.default_rng(3).normal(0.2, 1, 30)
    for copies in (1, 4):
        all_g = np.tile(values_g, copies)
        counts_bg = np.random.default_rng(0).multinomial(len(all_g), [1 / len(all_g)] * len(all_g), size=20_000)
        difference = PairedDifference(values_g.mean(), counts_bg @ all_g / len(all_g), np.zeros(len(all_g)))
        d = effect_size(difference)
        assert d == pytest.approx(values_g.mean() / values_g.std(ddof=1), rel=0.03)
    assert math.isnan(effect_size(PairedDifference(0.0, np.zeros(9), np.zeros(4))))
    assert math.isnan(spread_of_groups(PairedDifference(0.0, np.full(9, math.nan), np.zeros(4))))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_its_step_down_definition(p: list[float]) -> None:
    corrected = holm(p)
    for level in (0.01, 0.05, 0.2, 0.5):
        rejected = 0
        for rank, value in enumerate(sorted(p)):  # stop at the first that does not pass
            if value * (len(p) - rank) >= level:
                break
            rejected += 1
        assert sum(value < level for value in corrected) == rejected


def test_holm_equals_that_of_statsmodels() -> None:
    p = np.random.default_rng(0).random(40) ** 4
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_leaves_out_what_is_not_known() -> None:
    assert holm([math.nan]) == pytest.approx([math.nan], nan_ok=True)
    assert holm([]) == []
