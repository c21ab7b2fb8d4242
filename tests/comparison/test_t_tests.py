"""Power and numbers needed against statsmodels, and against what simulated tests really see."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from ensemble.comparison.t_tests import needed_groups, needed_seeds, power_of_t, safe, visible_difference


@pytest.mark.parametrize("shift", [0.0, 0.7, 2.8, 5.0])
@pytest.mark.parametrize("freedom", [1, 4, 33, 400])
def test_power_equals_that_of_statsmodels(shift: float, freedom: int) -> None:
    groups = freedom + 1
    assert power_of_t(shift, freedom) == pytest.approx(TTestPower().power(shift / math.sqrt(groups), groups, 0.05))


def test_power_is_a_number_everywhere_and_grows() -> None:
    for freedom in (1.0, 1.7, 5.0, 60.0, 5000.0):  # SciPy's far side is NaN here and there
        powers = [power_of_t(shift, freedom) for shift in np.linspace(0, 40, 81)]
        assert powers[0] == pytest.approx(0.05)
        assert (np.diff(powers) > -1e-9).all()
        assert powers[-1] <= 1.0 + 1e-9


def test_needed_numbers_are_the_smallest_that_reach_the_power() -> None:
    for size in (0.05, 0.2, 0.9):
        exact = TTestPower().solve_power(size, power=0.8, alpha=0.05)
        assert needed_groups(size, 1.0, groups=50, freedom=49) == math.ceil(exact)
        exact = TTestIndPower().solve_power(size, power=0.8, alpha=0.05)
        assert needed_seeds(size, 1.0) == math.ceil(exact)
    assert needed_groups(1e-9, 1.0, groups=50, freedom=49) == math.inf
    assert needed_seeds(5.0, 0.01) == 2
    assert needed_groups(0.5, 1.0, groups=50, freedom=5) > needed_groups(0.5, 1.0, groups=50, freedom=49)


def test_the_visible_difference_is_seen_in_four_of_five_cases() -> None:
    visible = visible_difference(0.1, groups=30, freedom=29)
    values_ng = np.random.default_rng(0).normal(visible, 0.1, (4000, 30))
    tests: Any = stats.ttest_1samp(values_ng, 0, axis=1)
    assert (tests.pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.02)  # three standard errors


def test_so_many_seeds_see_the_difference_in_four_of_five_cases() -> None:
    seeds = needed_seeds(0.02, 0.015)
    random = np.random.default_rng(1)
    a_nr, b_nr = random.normal(0.02, 0.015, (4000, int(seeds))), random.normal(0, 0.015, (4000, int(seeds)))
    tests: Any = stats.ttest_ind(a_nr, b_nr, axis=1)
    assert 0.78 < float((tests.pvalue < 0.05).mean()) < 0.9
    tests = stats.ttest_ind(a_nr[:, 1:], b_nr[:, 1:], axis=1)  # with one seed less it is not enough
    assert float((tests.pvalue < 0.05).mean()) < 0.82


def test_a_safe_spread_is_too_small_in_one_of_five_cases() -> None:
    for freedom in (2, 9, 100):
        spreads = np.random.default_rng(2).normal(0, 1, (4000, freedom + 1)).std(axis=1, ddof=1)
        short = (spreads * safe(1.0, freedom) < 1).mean()  # it is in proportion to the spread
        assert short == pytest.approx(0.2, abs=0.02)
