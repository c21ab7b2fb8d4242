"""Entropy, mutual information and risk-coverage curves against scipy, sorting and hand-worked values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from ensemble.core.errors import EnsError
from ensemble.evaluation.diversity import clipped_log
from ensemble.evaluation.uncertainty import RiskTally, entropy, mutual_information


def random_probs(seed: int, members: int = 4, classes: int = 3, pixels: int = 30) -> Any:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), (members, pixels)).transpose(0, 2, 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 5))
def test_entropy_and_information_equal_scipy(seed: int, members: int) -> None:
    probs = random_probs(seed, members)
    mean = probs.mean(0)
    np.testing.assert_allclose(entropy(mean, clipped_log(mean)), scipy_entropy(mean, axis=0), atol=1e-6)
    information = mutual_information(probs, clipped_log(probs))
    np.testing.assert_allclose(information, scipy_entropy(probs, mean[None], axis=1).mean(0), atol=1e-6)
    assert (information <= math.log(min(members, 3)) + 1e-6).all()


def test_members_that_are_equal_dispute_nothing_however_unsure() -> None:
    probs = np.full((3, 4, 2), 0.25)
    assert mutual_information(probs, clipped_log(probs)).tolist() == pytest.approx([0, 0], abs=1e-12)
    assert entropy(probs[0], clipped_log(probs[0])).tolist() == pytest.approx([math.log(4)] * 2)


def risk_of(score: Any, wrong: Any, largest: float = 1.0, **more: Any) -> RiskTally:
    tally = RiskTally(largest, **more)
    tally.add(np.asarray(score), np.asarray(wrong, bool))
    return tally


def test_four_pixels_by_hand() -> None:
    # most certain first: right, wrong, right, wrong; risks 0, 1/2, 1/3, 2/4
    tally = risk_of([0.1, 0.3, 0.5, 0.9], [0, 1, 0, 1])
    coverage, risk = tally.curve()
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert [tally.errors_found(share) for share in (0, 0.25, 0.5, 0.75, 1)] == [0, 0.5, 0.5, 1, 1]
    assert tally.errors_found(0.125) == 0.25  # half of the first pixel looked at
    assert tally.error == 0.5
    # straight lines between pixels: int_0^1 0 + int_1^2 (x-1)/x + int_2^3 1/x + int_3^4 (x-2)/x, over 4
    expected = ((1 - math.log(2)) + math.log(3 / 2) + (1 - 2 * math.log(4 / 3))) / 4
    assert tally.aurc == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_area_and_shares_equal_sorting(seed: int) -> None:
    random = np.random.default_rng(seed)
    score = random.random(20_000) ** 3
    wrong = random.random(20_000) < 0.3 * score
    tally = risk_of(score, wrong)
    order = np.argsort(score)
    risks = wrong[order].cumsum() / np.arange(1, len(order) + 1)
    assert tally.aurc == pytest.approx(risks.mean(), abs=2e-4)
    assert tally.errors_found(0.1) == pytest.approx(wrong[order[-2000:]].sum() / wrong.sum(), abs=2e-3)
    assert tally.best_aurc < tally.aurc < tally.error


def test_ties_and_the_two_ends() -> None:
    constant = risk_of(np.full(100, 0.5), np.arange(100) < 20)
    assert constant.aurc == pytest.approx(0.2)  # no ranking: the error at every coverage
    assert constant.errors_found(0.3) == pytest.approx(0.3)
    perfect = risk_of(np.arange(1000) / 1000, np.arange(1000) >= 800, bins=10**6)
    assert perfect.aurc == pytest.approx(perfect.best_aurc, abs=1e-4)
    assert perfect.best_aurc == pytest.approx(0.2 + 0.8 * math.log(0.8))
    assert risk_of([0.0, 1.0, 2.0], [1, 1, 1]).best_aurc == 1.0  # scores beyond the largest count as the largest


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.integers(0, 50))
def test_batches_add_up(seed: int, cut: int) -> None:
    random = np.random.default_rng(seed)
    score, wrong = random.random(50), random.random(50) < 0.4
    whole, parts = risk_of(score, wrong), RiskTally(1.0)
    for part in (slice(cut), slice(cut, None)):
        parts.add(score[part], wrong[part])
    np.testing.assert_array_equal(whole.pixels_b, parts.pixels_b)
    np.testing.assert_array_equal(whole.errors_b, parts.errors_b)


def test_nothing_and_no_error_have_no_share() -> None:
    empty, right = RiskTally(1.0), risk_of([0.2, 0.4], [0, 0])
    assert math.isnan(empty.error)
    assert math.isnan(empty.aurc)
    assert math.isnan(right.errors_found(0.5))
    assert (right.aurc, right.best_aurc, right.error) == (0, 0, 0)
    with pytest.raises(EnsError, match="largest score above 0, got 0"):
        RiskTally(0.0)
