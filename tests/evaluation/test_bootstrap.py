"""The group bootstrap against a plain loop, scipy.stats.bootstrap, and a population whose true score is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.evaluation import Bootstrap, PairedDifference, bootstrap, interval, iou_per_class, mean_iou, sum_by_group
from ensemble.evaluation.intervals import effective_freedom


def random_confusions(seed: int, images: int = 12, classes: int = 3) -> Any:
    random = np.random.default_rng(seed)
    table = random.integers(0, 6, (images, classes, classes))
    table[:, range(classes), range(classes)] += random.integers(0, 60, (images, classes))
    return table


def names(codes: Any) -> list[str]:
    return [f"scene-{code}" for code in codes]


GROUPS = names([3, 0, 1, 0, 2, 3, 3, 4, 1, 5, 2, 4])


# ---------------------------------------------------------------- sums


def test_sum_by_group_by_hand() -> None:
    sums, found = sum_by_group(np.array([[1, 10], [2, 20], [4, 40]]), ["b", "a", "b"])
    assert found == ("a", "b")
    assert sums.tolist() == [[2, 20], [5, 50]]
    assert sums.dtype == np.int64
    assert sum_by_group(np.array([True, True]), ["a", "a"])[0].tolist() == [2]
    assert sum_by_group(np.array([0.5, 0.25], dtype=np.float32), ["a", "b"])[0].dtype == np.float64


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 99))
def test_sum_by_group_equals_a_loop(codes: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 100, (len(codes), 2, 3))
    sums, found = sum_by_group(values, names(codes))
    assert list(found) == sorted(set(names(codes)))
    for name, total in zip(found, sums, strict=True):
        rows = [index for index, other in enumerate(names(codes)) if other == name]
        assert (values[rows].sum(axis=0) == total).all()


# ---------------------------------------------------------------- resamples


def test_equals_a_plain_loop_over_the_same_draws() -> None:
    tables = random_confusions(0)
    tables[:, 2] = tables[:, :, 2] = 0
    tables[4, 2, 2] = 7  # class 2 lives in one group only: absent from a third of the resamples
    resamples = Bootstrap.draw(GROUPS, resamples=200, seed=3)
    fast, fast_mean = resamples.iou(tables), resamples.mean_iou(tables)
    assert fast.shape == (200, 3)
    assert 20 < np.isnan(fast[:, 2]).sum() < 120
    for row, counts in enumerate(resamples.counts_bg):
        total = np.zeros((3, 3), dtype=int)
        for name, count in zip(resamples.names, counts, strict=True):
            for group, table in zip(GROUPS, tables, strict=True):
                total += int(count) * table * (group == name)
        np.testing.assert_array_equal(fast[row], iou_per_class(total))
        assert fast_mean[row] == mean_iou(total)


def test_draws_are_multinomial_repeatable_and_independent_of_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Bootstrap.draw(names(range(40)), resamples=4000, seed=1)
    counts = drawn.counts_bg.astype(float)
    assert (counts.sum(axis=1) == 40).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(40), abs=0.08)
    assert counts.var(axis=0).mean() == pytest.approx(1 - 1 / 40, rel=0.03)
    assert np.corrcoef(counts[:, 0], counts[:, 1])[0, 1] == pytest.approx(-1 / 39, abs=0.05)
    assert (Bootstrap.draw(names(range(40)), resamples=4000, seed=1).counts_bg == counts).all()
    assert (Bootstrap.draw(names(range(40)), resamples=4000, seed=2).counts_bg != counts).any()
    tables = random_confusions(1, images=40)
    whole = drawn.mean_iou(tables)
    monkeypatch.setattr(bootstrap, "_CHUNK", 1234)
    assert (Bootstrap.draw(names(range(40)), resamples=4000, seed=1).counts_bg == counts).all()
    np.testing.assert_array_equal(drawn.mean_iou(tables), whole)


def test_leave_one_out_equals_a_plain_loop() -> None:
    tables = random_confusions(4)
    resamples = Bootstrap.draw(GROUPS, resamples=5)
    left_out = resamples.leave_one_out.mean_iou(tables)
    assert left_out.shape == (6,)
    for name, value in zip(resamples.names, left_out, strict=True):
        assert value == mean_iou(tables[[group != name for group in GROUPS]].sum(axis=0))


def test_many_groups_do_not_overflow_their_small_integers() -> None:
    drawn = Bootstrap.draw(names(range(300)), resamples=20)
    assert drawn.counts_bg.dtype == np.uint16
    assert (drawn.counts_bg.sum(axis=1) == 300).all()
    huge = np.full((300, 2), 2**30 + 1)
    assert (drawn.totals(huge) == 300 * (2**30 + 1)).all()  # float32 sums would lose pixels beyond 2^24


def test_stacked_systems_equal_single_systems() -> None:
    resamples = Bootstrap.draw(GROUPS, resamples=100)
    systems = [random_confusions(seed) for seed in range(3)]
    stacked = np.stack(systems, axis=1)
    assert resamples.iou(stacked).shape == (100, 3, 3)
    for index, tables in enumerate(systems):
        np.testing.assert_array_equal(resamples.mean_iou(stacked)[:, index], resamples.mean_iou(tables))


def test_order_of_images_does_not_matter() -> None:
    tables, order = random_confusions(2), np.random.default_rng(0).permutation(len(GROUPS))
    shuffled = Bootstrap.draw([GROUPS[index] for index in order], resamples=50)
    np.testing.assert_array_equal(
        shuffled.mean_iou(tables[order]), Bootstrap.draw(GROUPS, resamples=50).mean_iou(tables)
    )


def test_background_column_is_missed_pixels() -> None:
    tables = np.concatenate([random_confusions(3), np.full((12, 3, 1), 2)], axis=2)
    resamples = Bootstrap.draw(GROUPS, resamples=50)
    assert (resamples.mean_iou(tables) < resamples.mean_iou(tables[..., :3])).all()


def test_ratio_is_the_weighted_mean() -> None:
    sums, pixels = np.array([1.0, 4.0, 9.0, 0.0]), np.array([10, 20, 30, 0])
    resamples = Bootstrap.draw(["a", "b", "c", "d"], resamples=500)
    ratios = resamples.ratio(sums, pixels)
    for counts, value in zip(resamples.counts_bg.astype(int), ratios, strict=True):
        total = counts @ pixels
        np.testing.assert_allclose(value, counts @ sums / total if total else math.nan)
    assert np.isnan(ratios).any()  # group d alone has no labelled pixel


def test_agrees_with_scipy() -> None:
    from scipy.stats import bootstrap as scipy_bootstrap

    tables = random_confusions(5, images=60)

    def score(index: Any, axis: int = -1) -> Any:
        assert axis == -1
        return mean_iou(tables[index].sum(axis=-3))

    reference = scipy_bootstrap(
        (np.arange(60),), score, n_resamples=4000, method="percentile", vectorized=True, batch=500, rng=7
    )
    samples = Bootstrap.draw(names(range(60)), resamples=4000, seed=8).mean_iou(tables)
    limits, width = interval(samples), float(np.ptp(reference.confidence_interval))
    assert limits.low == pytest.approx(reference.confidence_interval.low, abs=0.06 * width)
    assert limits.high == pytest.approx(reference.confidence_interval.high, abs=0.06 * width)
    assert samples.std() == pytest.approx(reference.standard_error, rel=0.06)


# ---------------------------------------------------------------- intervals and comparisons


def test_interval_by_hand_and_with_absent_values() -> None:
    samples = np.arange(1001.0)
    assert interval(samples, 0.9).low == pytest.approx(50)
    assert interval(samples, 0.9).high == pytest.approx(950)
    padded = np.concatenate([samples, np.full(500, math.nan)])
    assert interval(padded, 0.9) == interval(samples, 0.9)
    nothing = interval(np.full(5, math.nan))
    assert math.isnan(nothing.low)
    assert math.isnan(nothing.high)


def test_effective_freedom_by_hand() -> None:
    assert effective_freedom(np.array([8.0, 0, 0, 0, 0, 0, 0, 0])) == pytest.approx(3 * 56**2 / (7**4 + 7) - 2)
    assert effective_freedom(np.array([1.0, 1, 2, 2])) == 3  # alike: the formula alone says 10
    assert effective_freedom(np.full(6, 0.25)) == 5  # nothing changes whatever is left out
    assert effective_freedom(np.array([0.5, math.nan, 0.5])) == 1  # one group alone has the score
    normal = np.random.default_rng(0).normal(size=4000)
    assert effective_freedom(normal) == pytest.approx(4000, rel=0.1)  # 3 g s^4 / (3 s^4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30), st.floats(1e-150, 1e6), st.floats(0, 1))
def test_effective_freedom_lies_between_one_and_the_groups_whatever_the_unit(
    values: list[int], unit: float, share: float
) -> None:
    changes = np.array(values, dtype=float)
    freedom = effective_freedom(changes)
    assert 1 <= freedom <= len(values) - 1
    assert effective_freedom(-unit * changes) == pytest.approx(freedom)
    assert effective_freedom(changes + round(100 * share)) == pytest.approx(freedom)


def test_alike_groups_get_the_t_interval_of_scipy() -> None:
    from scipy import stats

    values = np.random.default_rng(2).permutation(np.linspace(0, 1, 12))
    ones = np.ones(12)
    resamples = Bootstrap.draw(names(range(12)), resamples=100_000)
    limits = interval(resamples.ratio(values, ones), left_out_g=resamples.leave_one_out.ratio(values, ones))
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    width = reference.high - reference.low
    assert limits.low == pytest.approx(reference.low, abs=0.015 * width)
    assert limits.high == pytest.approx(reference.high, abs=0.015 * width)
    plain = interval(resamples.ratio(values, ones))
    assert plain.high - plain.low < 0.87 * width


def test_every_resample_of_three_groups_by_hand() -> None:
    # 27 resamples of the values 0, 1, 2: sums 0 to 6 in 1, 3, 6, 7, 6, 3, 1 of them. Half of Student's t at two degrees
    # of freedom lies within sqrt(2/3), so z = sqrt(3/2) sqrt(2/3) = 1 and the shares are 0.159 and 0.841: places 4.1
    # and 21.9 of 0..26.
    every = np.array([np.bincount(draw, minlength=3) for draw in np.ndindex(3, 3, 3)], dtype=np.uint8)
    resamples = Bootstrap(("a", "b", "c"), np.arange(3), every)
    values, ones = np.arange(3.0), np.ones(3)
    samples, left_out = resamples.ratio(values, ones), resamples.leave_one_out.ratio(values, ones)
    assert left_out.tolist() == [1.5, 1.0, 0.5]
    limits = interval(samples, 0.5, left_out_g=left_out)
    assert (limits.low, limits.high) == pytest.approx((2 / 3, 4 / 3), abs=1e-12)
    limits = interval(samples, 0.95, left_out_g=left_out)
    assert (limits.low, limits.high) == pytest.approx((0, 2), abs=1e-5)  # 4.3 widened by sqrt(3/2): beyond 27 resamples


def test_two_groups_span_what_they_hold() -> None:
    tables = random_confusions(8, images=2)
    resamples = Bootstrap.draw(["a", "b"], resamples=200)
    limits = interval(resamples.mean_iou(tables), left_out_g=resamples.leave_one_out.mean_iou(tables))
    each = [mean_iou(table) for table in tables]
    assert min(limits.low, *each) == limits.low
    assert max(limits.high, *each) == limits.high


def test_pairing_narrows_the_difference() -> None:
    tables = random_confusions(7, images=80)
    other = tables + np.eye(3, dtype=int)
    groups = names(range(80))
    one, two = Bootstrap.draw(groups, resamples=2000, seed=0), Bootstrap.draw(groups, resamples=2000, seed=1)
    paired = np.std(one.mean_iou(other) - one.mean_iou(tables))
    assert paired < 0.3 * np.std(one.mean_iou(other) - two.mean_iou(tables))


def planted(random: Any, groups: int) -> tuple[Any, list[str]]:
    """Four images per scene that share the scene's error rate: (images, 2, 2) tables and group names."""
    rate = np.repeat(random.beta(2, 6, groups), 4)
    wrong = random.binomial(100, rate[:, None], (4 * groups, 2))
    tables = np.stack([np.stack([100 - wrong[:, 0], wrong[:, 0]], 1), np.stack([wrong[:, 1], 100 - wrong[:, 1]], 1)], 1)
    return tables, names(np.repeat(np.arange(groups), 4))


def covers(tables: Any, groups: list[str], truth: Any, seed: int) -> bool:
    resamples = Bootstrap.draw(groups, resamples=400, seed=seed)
    limits = interval(resamples.mean_iou(tables), left_out_g=resamples.leave_one_out.mean_iou(tables))
    return bool(limits.low <= truth <= limits.high)


def test_interval_covers_the_truth_and_single_images_would_not() -> None:
    random = np.random.default_rng(11)
    truth = mean_iou(planted(random, 100_000)[0].sum(axis=0))
    trials, hits, naive_hits = 250, 0, 0
    for trial in range(trials):
        tables, groups = planted(random, 40)
        hits += covers(tables, groups, truth, trial)
        naive_hits += covers(tables, names(range(len(groups))), truth, trial)
    assert 0.91 <= hits / trials <= 0.985
    assert naive_hits / trials < 0.80  # pretending that the images of a scene are independent


def test_false_alarms_where_few_groups_carry_the_weight() -> None:
    # Two systems, equally good, on 16 groups of very unequal sizes: the difference of their shares of right pixels.
    random = np.random.default_rng(5)
    trials, groups = 500, names(range(16))
    alarms = plain = 0
    for trial in range(trials):
        pixels = random.lognormal(5, 1.2, 16)
        right = pixels * random.beta(8, 2, (2, 16))
        resamples = Bootstrap.draw(groups, resamples=400, seed=trial)
        a, b = (resamples.ratio(system, pixels) for system in right)
        left_out = resamples.leave_one_out
        left_out_g = left_out.ratio(right[0], pixels) - left_out.ratio(right[1], pixels)
        alarms += not PairedDifference(0.0, a - b, left_out_g).comparison().covers_zero
        limits = interval(a - b)
        plain += limits.low > 0 or limits.high < 0
    # 5 % is meant, one standard error is 1 %
    assert 0.02 <= alarms / trials <= 0.08
    assert plain / trials > 0.10


# ---------------------------------------------------------------- mistakes


def test_mistakes_are_explained() -> None:
    resamples = Bootstrap.draw(GROUPS, resamples=10)
    tables = random_confusions(0)
    with pytest.raises(EnsError, match="at least 2 groups of images to resample, got 1"):
        Bootstrap.draw(["a", "a"])
    with pytest.raises(EnsError, match="at least 2 groups of images to resample, got 0"):
        Bootstrap.draw([])
    with pytest.raises(EnsError, match="at least 1 resample, got 0"):
        Bootstrap.draw(GROUPS, resamples=0)
    with pytest.raises(EnsError, match="got 12 names for 11 images"):
        resamples.mean_iou(tables[1:])
    with pytest.raises(EnsError, match="got 0 names for 0 images"):
        sum_by_group(np.zeros(0), [])
    with pytest.raises(EnsError, match=r"as many columns as rows, got shape \(12, 3, 2\)"):
        resamples.iou(tables[..., :2])
    with pytest.raises(EnsError, match="finite values per image"):
        resamples.ratio(np.full(12, math.nan), np.ones(12))
    with pytest.raises(EnsError, match="level between 0 and 1, got 95"):
        interval(np.zeros(3), 95)
    with pytest.raises(EnsError, match=r"one score per resample, got shape \(3, 2\)"):
        interval(np.zeros((3, 2)))
    with pytest.raises(EnsError, match=r"each of at least 2 groups left out, got shape \(1,\)"):
        interval(np.zeros(3), left_out_g=np.zeros(1))
