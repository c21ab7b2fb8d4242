"""Intervals of IoU and its like: against scipy, by hand, and where a score has no logit."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logit

from ensemble.core.errors import EnsError
from ensemble.evaluation import Bootstrap, dice_per_class, iou_per_class
from ensemble.evaluation.intervals import effective_freedom
from ensemble.evaluation.proportion_intervals import class_intervals, share_interval

shares = st.floats(0.01, 0.99)


def limits(interval: Any) -> tuple[float, float]:
    return interval.low, interval.high


# ---------------------------------------------------------------- one score


def test_by_hand() -> None:
    # logits of 0.5, 0.5, 0.6, 0.4: 0, 0, +-0.405465; mean 0; squares 0.1644 in two of four places, so that the freedom
    # 3 (2 q)^2 / (2 q^2) - 2 = 4 is cut to 3 and t = 3.182446; e = sqrt(3/4 * 2 * 0.1644) = 0.496591
    found = share_interval(0.5, np.array([0.5, 0.5, 0.6, 0.4]), holders=4)
    edge = 1 / (1 + math.exp(3.182446 * 0.496591))
    assert limits(found) == pytest.approx((edge, 1 - edge), abs=1e-6)


def test_is_as_wide_as_the_t_interval_of_the_pseudo_values() -> None:
    left_out_g = 0.3 + np.random.default_rng(0).permutation(np.linspace(-0.02, 0.02, 12))
    middle, logits_g = float(logit(0.3)), logit(left_out_g)
    assert effective_freedom(logits_g) == 11
    reference = stats.ttest_1samp(12 * middle - 11 * logits_g, 0).confidence_interval(0.9)
    found = logit(limits(share_interval(0.3, left_out_g, holders=12, level=0.9)))
    half = (reference.high - reference.low) / 2
    assert found == pytest.approx([middle - half, middle + half], rel=1e-9)


def test_many_alike_groups_get_the_normal_interval_on_the_logit() -> None:
    random = np.random.default_rng(1)
    hits_g = random.binomial(100, 0.2, 2000)
    share, left_out_g = hits_g.sum() / 200_000, (hits_g.sum() - hits_g) / (200_000 - 100)
    error = NormalDist().inv_cdf(0.975) * math.sqrt(1 / (200_000 * share * (1 - share)))
    found = logit(limits(share_interval(share, left_out_g, holders=2000)))
    assert found == pytest.approx([logit(share) - error, logit(share) + error], abs=0.06 * error)


@settings(max_examples=60, deadline=None)
@given(shares, st.lists(shares, min_size=2, max_size=20))
def test_holds_the_score_within_0_and_1_and_mirrors(score: float, left_out: list[float]) -> None:
    left_out_g = np.array(left_out)
    low, high = limits(share_interval(score, left_out_g, len(left_out)))
    assert 0 <= low <= score * (1 + 1e-12)
    assert score <= high * (1 + 1e-12)
    assert high <= 1
    assert limits(share_interval(1 - score, 1 - left_out_g, len(left_out))) == pytest.approx((1 - high, 1 - low))
    if effective_freedom(np.asarray(logit(left_out_g))) < 4:
        return
    iou_as_dice = [2 * limit / (1 + limit) for limit in (low, high)]
    of_dice = share_interval(2 * score / (1 + score), 2 * left_out_g / (1 + left_out_g), len(left_out))
    assert limits(of_dice) == pytest.approx(iou_as_dice)


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (0, 14), (14, 14), (0, 200)])
def test_scores_of_0_and_1_get_the_exact_binomial_limits(hits: int, trials: int) -> None:
    share = hits / trials
    reference = stats.binomtest(hits, trials).proportion_ci(0.95, method="exact")
    assert limits(share_interval(share, np.full(300, share), trials)) == pytest.approx(tuple(reference))


def test_all_hits_in_one_group_leave_the_spread_unmeasured() -> None:
    left_out_g = np.full(20, 0.06)
    left_out_g[3] = 0.0
    found = share_interval(0.06, left_out_g, holders=6)
    assert limits(found) == pytest.approx((0, stats.beta.ppf(0.975, 1.36, 5.64)))
    nearly = share_interval(0.06, np.maximum(left_out_g, 1e-6), holders=6)
    assert limits(nearly) == pytest.approx(limits(found), abs=1e-6)  # no leap where a pixel is hit elsewhere
    alone = share_interval(0.4, np.array([0.4, math.nan, 0.4]), holders=1)  # one group holds the class
    assert limits(alone) == pytest.approx((0, stats.beta.ppf(0.975, 1.4, 0.6)))
    nobody = share_interval(0.0, np.zeros(9), holders=0)  # predicted, but in none of these images
    assert limits(nobody) == (0, 1)
    assert all(math.isnan(limit) for limit in limits(share_interval(math.nan, np.full(9, math.nan), 0)))


def test_one_group_that_decides_bounds_the_far_side_only() -> None:
    left_out_g = np.full(40, 0.05)
    left_out_g[0] = 0.02
    assert effective_freedom(np.asarray(logit(left_out_g))) < 2
    error = float(logit(left_out_g).std()) * math.sqrt(39)
    t = stats.t.ppf(0.975, effective_freedom(np.asarray(logit(left_out_g))))
    low, high = limits(share_interval(0.05, left_out_g, holders=12))
    assert logit(low) == pytest.approx(float(logit(0.05)) - t * error)
    assert high == pytest.approx(stats.beta.ppf(0.975, 1.6, 11.4))
    assert high < 1 / (1 + math.exp(-float(logit(0.05)) - t * error))
    calm_g = 0.05 + 1e-4 * (left_out_g - 0.05)  # the same group decides, but of next to nothing
    assert share_interval(0.05, calm_g, holders=12).high < 0.051


def test_the_limit_does_not_leap_where_a_second_group_begins_to_count() -> None:
    # One group of 200 carries the IoU of 0.006, a second one more and more of it: 1.05 to 4.0 degrees of freedom. The
    # limit on the side of 1/2 leapt from 0.25 to 0.6 where they reach two.
    freedoms, highs = [], []
    for second in np.linspace(0, 1, 400):
        logits_g = np.full(200, float(logit(0.006)))
        logits_g[:2] -= 1.2, 1.2 * second
        left_out_g = 1 / (1 + np.exp(-logits_g))
        freedoms.append(effective_freedom(logits_g))
        highs.append(share_interval(0.006, left_out_g, holders=14).high)
    assert min(freedoms) < 1.2
    assert max(freedoms) > 3.8
    assert np.abs(np.diff(highs)).max() < 0.01
    bound = stats.beta.ppf(0.975, 1 + 0.006 * 14, 14 - 0.006 * 14)
    few = [high for freedom, high in zip(freedoms, highs, strict=True) if freedom <= 2]
    assert few[-1] == pytest.approx(bound)
    half = next(high for freedom, high in zip(freedoms, highs, strict=True) if freedom >= 3)
    assert bound < half < 0.5


def test_halfway_between_one_group_and_many_the_limit_is_halfway_on_the_logit() -> None:
    logits_g = np.full(200, float(logit(0.006)))
    logits_g[:2] -= 1.2, 1.2 * 0.618  # 3 (1 + a^2)^2 / (1 + a^4) - 2 is 3 for a^2 = (3 - sqrt 5) / 2
    found = share_interval(0.006, 1 / (1 + np.exp(-logits_g)), holders=14)
    freedom = effective_freedom(logits_g)
    error = float(logits_g.std()) * math.sqrt(199)
    own = float(logit(0.006)) + stats.t.ppf(0.975, freedom) * error
    bound = float(logit(stats.beta.ppf(0.975, 1 + 0.006 * 14, 14 - 0.006 * 14)))
    trust = (freedom - 2) / 2
    assert 0.4 < trust < 0.6
    assert float(logit(found.high)) == pytest.approx((1 - trust) * bound + trust * own)
    assert float(logit(found.low)) == pytest.approx(2 * float(logit(0.006)) - own)


# ---------------------------------------------------------------- the mean over classes


def test_mean_equals_a_plain_loop() -> None:
    random = np.random.default_rng(3)
    left_out_gk = np.clip(np.array([0.7, 0.5, 0.1]) + 0.02 * random.normal(size=(30, 3)), 0.01, 0.99)
    left_out_gk[:, 1] += 0.5 * (left_out_gk[:, 0] - 0.7)
    estimate_k = np.array([0.7, 0.5, 0.1])
    mean, *each = class_intervals(estimate_k, left_out_gk, [30, 30, 4])
    assert each == [share_interval(float(estimate_k[k]), left_out_gk[:, k], 30) for k in range(3)]
    shared: Any = np.corrcoef(left_out_gk.T)
    down = up = 0.0
    for a in range(3):
        for b in range(3):
            down += shared[a, b] * (estimate_k[a] - each[a].low) * (estimate_k[b] - each[b].low)
            up += shared[a, b] * (each[a].high - estimate_k[a]) * (each[b].high - estimate_k[b])
    assert limits(mean) == pytest.approx((1.3 / 3 - math.sqrt(down) / 3, 1.3 / 3 + math.sqrt(up) / 3))
    assert up > 1.3 * down  # the class near 0 has its long side upwards


def test_mean_of_one_class_and_of_the_same_class_twice_is_that_class() -> None:
    left_out_g = np.array([0.2, 0.22, 0.17, 0.21])
    own = limits(share_interval(0.2, left_out_g, 4))
    for copies in (1, 2):
        mean, *each = class_intervals(np.full(copies, 0.2), np.stack([left_out_g] * copies, axis=1), [4] * copies)
        assert limits(mean) == pytest.approx(own)
        assert [limits(interval) for interval in each] == [own] * copies


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12), st.integers(0, 12))
def test_mean_lies_within_0_and_1_and_between_its_limits(left_out: list[tuple[float, float]], holders: int) -> None:
    left_out_gk = np.array(left_out)
    mean, *_ = class_intervals(left_out_gk.mean(0), left_out_gk, [holders, holders])
    assert -1e-12 <= mean.low <= left_out_gk.mean() + 1e-12
    assert left_out_gk.mean() - 1e-12 <= mean.high <= 1 + 1e-12


def test_absent_classes_are_left_out_and_lone_ones_are_not_taken_for_sure() -> None:
    left_out_gk = np.array([[0.6, math.nan, math.nan], [0.7, 0.4, math.nan], [0.65, 0.4, math.nan]])
    mean, soil, rock, absent = class_intervals(np.array([0.65, 0.4, math.nan]), left_out_gk, [3, 1, 0])
    assert math.isnan(absent.low)
    assert math.isnan(absent.high)
    apart = np.hypot(soil.high - 0.65, rock.high - 0.4) / 2  # nothing says that they move together
    assert mean.high == pytest.approx(0.525 + apart)
    nothing, _ = class_intervals(np.array([math.nan]), np.full((3, 1), math.nan), [0])
    assert math.isnan(nothing.low)


def test_from_confusion_matrices_to_the_interval() -> None:
    random = np.random.default_rng(4)
    tables = random.integers(0, 6, (40, 3, 3))
    tables[:, range(3), range(3)] += random.integers(0, 60, (40, 3))
    tables[5:, 2] = tables[5:, :, 2] = 0  # the third class lives in five images
    drawn = Bootstrap.draw([f"scene-{n}" for n in range(40)], resamples=2)
    left_out = drawn.leave_one_out
    mean, *each = class_intervals(iou_per_class(tables.sum(0)), left_out.iou(tables), [40, 40, 5])
    widths = [interval.high - interval.low for interval in each]
    assert widths[2] > 2 * max(widths[:2])
    assert mean.low < iou_per_class(tables.sum(0)).mean() < mean.high
    dice_gk = np.array([dice_per_class(tables.sum(0) - table) for table in tables])
    _, *dice = class_intervals(dice_per_class(tables.sum(0)), dice_gk, [40, 40, 5])
    assert [2 * interval.low / (1 + interval.low) for interval in each] == pytest.approx([one.low for one in dice])


# ---------------------------------------------------------------- mistakes


def test_mistakes_are_explained() -> None:
    with pytest.raises(EnsError, match="level between 0 and 1, got 95"):
        share_interval(0.5, np.full(3, 0.5), 3, level=95)
    with pytest.raises(EnsError, match=r"each of at least 2 groups left out, got shape \(1,\)"):
        share_interval(0.5, np.full(1, 0.5), 1)
    with pytest.raises(EnsError, match=r"got shapes \(2,\), \(1,\) and \(3, 2\)"):
        class_intervals(np.full(2, 0.5), np.full((3, 2), 0.5), [3])
    with pytest.raises(EnsError, match=r"got shapes \(2,\), \(2,\) and \(3,\)"):
        class_intervals(np.full(2, 0.5), np.full(3, 0.5), [3, 3])
