"""Effect sizes and Holm's procedure by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from ensemble.comparison.inference import effect_size, holm, spread_of_groups
from ensemble.evaluation.paired import PairedDifference


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
