"""Paired comparisons: a table worked by hand, symmetry as a property, and the formula written out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.evaluation import Bootstrap, Draws, PairedDifference, SampledScores, interval, iou_per_class, mean_iou
from ensemble.evaluation.caveats import ENOUGH_GROUPS
from ensemble.evaluation.confusion import mean_present
from ensemble.evaluation.paired import Comparison
from ensemble.evaluation.share_differences import ShareDifference
from ensemble.evaluation.shares import Shares

GROUPS = ["a", "a", "b", "c", "c", "c"]


def confusions(seed: int, quality: int = 10, images: int = 6, classes: int = 3) -> Any:
    """Random matrices; ``quality`` is added to the diagonal."""
    tables = np.random.default_rng(seed).integers(0, 9, (images, classes, classes))
    tables[:, range(classes), range(classes)] += quality
    return tables


def difference(samples: list[float], estimate: float = 0.0, left_out: tuple[float, ...] = (0.1, 0.2) * 5) -> Any:
    return PairedDifference(estimate, np.array(samples), np.array(left_out))


MANY = [f"scene-{row // 2}" for row in range(24)]


# ---------------------------------------------------------------- scores


def test_a_table_worked_by_hand() -> None:
    """Two images in two groups, two classes."""
    right = np.array([[[4, 0], [0, 4]], [[4, 0], [0, 4]]])
    half = np.array([[[4, 0], [0, 4]], [[2, 2], [2, 2]]])
    draws = Draws.of(["a", "b"], resamples=500)
    one, other = draws.iou(right), draws.iou(half)
    assert one.whole_c.tolist() == [1, 1, 1]
    assert other.whole_c.tolist() == [0.6, 0.6, 0.6]  # 6 hits of 8 + 8 - 6 pixels
    np.testing.assert_allclose(other.left_out_gc, np.repeat([[1 / 3], [1.0]], 3, axis=1))  # without a, without b
    first_b = draws.resamples.counts_bg[:, 0]
    expected_b = np.array([1 / 3, 0.6, 1.0])[first_b]  # group a drawn never, once, twice
    np.testing.assert_allclose(other.samples_bc[:, 0], expected_b)
    found = one.minus(other)
    assert found.estimate == 0.4
    np.testing.assert_allclose(found.samples_b, 1 - expected_b)
    np.testing.assert_allclose(found.left_out_g, [2 / 3, 0])
    share = ((first_b < 2) + 0.5 * (first_b == 2)).mean()
    assert found.comparison().probability_of_improvement == pytest.approx(share)


def test_scores_are_those_of_bootstrap_and_jackknife() -> None:
    tables = confusions(0, classes=12)
    scores, drawn = Draws.of(GROUPS, resamples=50, seed=3).iou(tables), Bootstrap.draw(GROUPS, resamples=50, seed=3)
    np.testing.assert_array_equal(scores.whole_c, [mean_iou(tables.sum(0)), *iou_per_class(tables.sum(0))])
    np.testing.assert_array_equal(scores.samples_bc[:, 0], drawn.mean_iou(tables))
    np.testing.assert_array_equal(scores.samples_bc[:, 1:], drawn.iou(tables))
    np.testing.assert_array_equal(scores.left_out_gc[:, 0], drawn.leave_one_out.mean_iou(tables))
    np.testing.assert_array_equal(scores.left_out_gc[:, 1:], drawn.leave_one_out.iou(tables))


def test_any_function_of_sums_is_a_score() -> None:
    losses_n, pixels_n = np.arange(6.0), np.full(6, 2.0)
    scores = Draws.of(GROUPS, resamples=5).scores(lambda total: np.stack([total(losses_n) / total(pixels_n)], axis=-1))
    assert scores.whole_c.tolist() == [15 / 12]
    assert scores.samples_bc.shape == (5, 1)
    assert scores.left_out_gc[:, 0].tolist() == [14 / 8, 13 / 10, 3 / 6]


def test_an_absent_class_has_no_score_and_no_part_in_the_mean() -> None:
    tables = confusions(0)
    tables[:, 2] = tables[:, :, 2] = 0
    scores = Draws.of(GROUPS, resamples=5).iou(tables)
    assert math.isnan(scores.whole_c[3])
    assert scores.whole_c[0] == pytest.approx(scores.whole_c[1:3].mean())
    assert scores.compare(scores)[3].covers_zero


def test_a_class_that_no_image_holds_does_not_decide() -> None:
    # 401 images without rock. The first system is 2.7 points better; the second one predicts a few pixels of rock.
    random = np.random.default_rng(0)
    right_snk = np.stack([random.binomial(1000, share, (401, 3)) for share in (0.93, 0.916)])
    first, second = np.zeros((2, 401, 4, 4), np.int64)
    for table_nkk, right_nk in zip((first, second), right_snk, strict=True):
        for k in range(3):
            table_nkk[:, k, k], table_nkk[:, k, (k + 1) % 3] = right_nk[:, k], 1000 - right_nk[:, k]
    second[:9, 0, 0] -= 1
    second[:9, 0, 3] += 1
    three = (iou_per_class(first.sum(0)[:3]) - iou_per_class(second.sum(0)[:3])).mean()
    assert three == pytest.approx(0.0241, abs=5e-4)
    draws = Draws.of([f"stop-{n // 3}" for n in range(401)], resamples=500)
    for one, other in ((first, second), (second, first)):
        found, *_, rock = draws.iou(one).compare(draws.iou(other))
        assert abs(found.difference) == pytest.approx(three)
        assert 0.02 < min(abs(found.low), abs(found.high)) < max(abs(found.low), abs(found.high)) < 0.03
        assert math.isnan(rock.difference)


def test_resamples_without_a_class_leave_it_out_for_both_systems() -> None:
    # Rock is in one group only: resamples without it, and that group left out, average the other two classes.
    tables = confusions(0)
    tables[:5, 2] = 0
    bold = tables.copy()
    bold[:, 0, 2] += 3  # false rock in every image
    draws = Draws.of(GROUPS, resamples=200)
    timid, other = draws.iou(tables), draws.iou(bold)
    for part in ("samples_bc", "left_out_gc"):
        scores, others = getattr(timid, part), getattr(other, part)
        gone = np.isnan(scores[:, 3])
        assert gone.any()
        assert (gone == np.isnan(others[:, 3])).all()
        np.testing.assert_allclose(others[gone, 0], others[gone, 1:3].mean(1))


# ---------------------------------------------------------------- differences


@pytest.mark.parametrize("column", [0, 1, 2, 3])
def test_a_comparison_is_the_formula_written_out(column: int) -> None:
    one, other = confusions(1, images=24), confusions(2, quality=12, images=24)
    draws, drawn = Draws.of(MANY, resamples=300), Bootstrap.draw(MANY, resamples=300)

    def scores(iou: Any) -> Any:
        return np.concatenate([mean_present(iou)[..., None], iou], axis=-1)[..., column]

    whole = float(scores(iou_per_class(one.sum(0))) - scores(iou_per_class(other.sum(0))))
    samples_b = scores(drawn.iou(one)) - scores(drawn.iou(other))
    classes = slice(None) if column == 0 else slice(column - 1, column)
    parts = [
        Shares(iou_per_class(tables.sum(0))[classes], drawn.leave_one_out.iou(tables)[:, classes], np.array([12] * 3))
        for tables in (one, other)
    ]
    limits = ShareDifference(*(replace(part, holders_k=part.holders_k[classes]) for part in parts)).interval(0.95)
    found = draws.iou(one).compare(draws.iou(other))[column]
    assert (found.difference, found.low, found.high) == (whole, limits.low, limits.high)
    assert found.probability_of_improvement == ((samples_b > 0) + 0.5 * (samples_b == 0)).mean()
    assert found == draws.iou(one).minus(draws.iou(other), column).comparison()
    assert found == draws.iou(one).column(column).minus(draws.iou(other).column(column)).comparison()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 30), st.lists(st.integers(0, 30), min_size=10, max_size=16, unique=True))
def test_the_first_minus_the_second_mirrors_the_second_minus_the_first(
    seed: int, quality: int, groups: list[int]
) -> None:
    draws = Draws.of([str(group) for group in groups], resamples=40, seed=seed)
    one, other = (draws.iou(confusions(seed + n, quality + n, len(groups))) for n in range(2))
    for there, back in zip(one.compare(other), other.compare(one), strict=True):
        assert there.difference == -back.difference
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), rel=0.03, abs=1e-6)
        assert there.probability_of_improvement == pytest.approx(1 - back.probability_of_improvement)
        assert there.covers_zero == back.covers_zero
    same = one.compare(one)
    assert all((each.low, each.high, each.probability_of_improvement) == (0, 0, 0.5) for each in same)


def test_ties_count_half_and_losses_are_better_when_lower() -> None:
    found = difference([1.0, 0.0, -1.0, 2.0, math.nan], estimate=0.4)
    result = found.comparison()
    assert result.difference == 0.4
    assert result.probability_of_improvement == 0.625
    assert found.comparison(higher_is_better=False).probability_of_improvement == 0.375
    assert difference([-1.0, 0.0, 1.0, -2.0, math.nan]).comparison().high == pytest.approx(-result.low)


def test_the_groups_that_decide_widen_the_interval() -> None:
    values, ones = np.zeros(30), np.ones(30)
    values[:2] = 1.0, -1.0
    draws = Draws.of([f"g-{n}" for n in range(30)], resamples=4000)
    found = draws.scores(lambda total: np.stack([total(values) / total(ones)], axis=-1))
    whole_c, samples_bc, left_out_gc = map(np.zeros_like, (found.whole_c, found.samples_bc, found.left_out_gc))
    zero = SampledScores(whole_c, samples_bc, left_out_gc, (None,))
    wide, plain = found.minus(zero).comparison(), interval(found.samples_bc[:, 0])
    assert wide.high - wide.low > 1.3 * (plain.high - plain.low)  # t at 4 degrees is 2.8, at 29 it is 2.0


def test_a_higher_level_gives_a_wider_interval() -> None:
    draws = Draws.of(MANY, resamples=300)
    found = draws.iou(confusions(1, images=24)).minus(draws.iou(confusions(2, images=24)))
    narrow, wide = found.comparison(level=0.5), found.comparison(level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_same_and_clearly_better_systems() -> None:
    draws, tables = Draws.of(MANY, resamples=1000), confusions(6, images=24)
    base, better = draws.iou(tables), draws.iou(tables + 20 * np.eye(3, dtype=int))
    found = better.minus(base).comparison()
    assert not found.covers_zero
    assert found.probability_of_improvement == 1.0
    assert not base.minus(better).comparison().covers_zero


def test_the_interval_of_objects_holds_the_difference() -> None:
    counts_nk4 = np.zeros((20, 1, 4), np.int64)
    counts_nk4[..., 3] = 2  # two true objects in each image; nobody finds one, and one system predicts three in vain
    more_nk4 = counts_nk4 + np.array([0, 3, 0, 0])
    draws = Draws.of([f"g{row:02d}" for row in range(20)])
    difference = draws.objects(more_nk4).minus(draws.objects(counts_nk4), 1)
    found = difference.comparison()
    assert found.difference == 0
    assert found.low < 0 == found.high
    assert difference.p_value() == 1


def test_too_few_groups_have_no_interval() -> None:
    for groups, known in ((ENOUGH_GROUPS - 1, False), (ENOUGH_GROUPS, True)):
        draws = Draws.of([str(group) for group in range(groups)], resamples=50)
        one, other = (draws.iou(confusions(seed, images=groups)) for seed in range(2))
        found = one.minus(other)
        assert math.isnan(found.comparison().low) == math.isnan(found.p_value()) == (not known)
        assert found.comparison().difference == found.estimate


def test_without_data_nothing_differs() -> None:
    nothing = difference([math.nan] * 3, math.nan).comparison()
    assert nothing.covers_zero
    assert math.isnan(nothing.low)
    assert math.isnan(nothing.probability_of_improvement)


def test_mistakes_are_explained() -> None:
    with pytest.raises(EnsError, match="at least 2 groups of images to resample, got 1"):
        Draws.of(["a", "a"])
    with pytest.raises(EnsError, match="at least 1 resample, got 0"):
        Draws.of(GROUPS, resamples=0)
    few, many = (Draws.of(GROUPS, resamples=number).iou(confusions(0)) for number in (3, 4))
    with pytest.raises(EnsError, match="use one Draws for both"):
        few.minus(many)
    with pytest.raises(EnsError, match="level between 0 and 1, got 95"):
        difference([0.1, 0.2]).comparison(level=95)


def test_a_difference_is_shown_in_points_with_its_interval() -> None:
    assert Comparison(0.00623, -0.001, 0.0131, 0.9).in_points == "+0.62 (-0.10 to +1.31)"
    assert Comparison(-0.2, -0.25, -0.15, 0.0, few_groups=True).in_points == "~-20.00 (-25.00 to -15.00)"
    assert Comparison(-0.2, np.nan, np.nan, 0.0).in_points == "-20.00 (no interval)"
    assert Comparison(np.nan, np.nan, np.nan, np.nan).in_points == "-"
