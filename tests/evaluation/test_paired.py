"""Paired comparisons: a table worked by hand, symmetry as a property, and the formula written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.evaluation import Bootstrap, Draws, PairedDifference, SampledScores, interval, iou_per_class, mean_iou
from ensemble.evaluation.confusion import mean_present

GROUPS = ["a", "a", "b", "c", "c", "c"]


def confusions(seed: int, quality: int = 10, images: int = 6, classes: int = 3) -> Any:
    """Random matrices; ``quality`` is added to the diagonal."""
    tables = np.random.default_rng(seed).integers(0, 9, (images, classes, classes))
    tables[:, range(classes), range(classes)] += quality
    return tables


def difference(samples: list[float], estimate: float = 0.0, left_out: tuple[float, ...] = (0.1, 0.2)) -> Any:
    return PairedDifference(estimate, np.array(samples), np.array(left_out))


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


# ---------------------------------------------------------------- differences


@pytest.mark.parametrize("column", [0, 1, 2, 3])
def test_a_comparison_is_the_formula_written_out(column: int) -> None:
    one, other = confusions(1), confusions(2, quality=12)
    draws, drawn = Draws.of(GROUPS, resamples=300), Bootstrap.draw(GROUPS, resamples=300)

    def scores(iou: Any) -> Any:
        return np.concatenate([mean_present(iou)[..., None], iou], axis=-1)[..., column]

    whole = float(scores(iou_per_class(one.sum(0))) - scores(iou_per_class(other.sum(0))))
    samples_b = scores(drawn.iou(one)) - scores(drawn.iou(other))
    left_out_g = scores(drawn.leave_one_out.iou(one)) - scores(drawn.leave_one_out.iou(other))
    limits = interval(samples_b, left_out_g=left_out_g)
    found = draws.iou(one).compare(draws.iou(other))[column]
    assert (found.difference, found.low, found.high) == (whole, limits.low, limits.high)
    assert found == draws.iou(one).minus(draws.iou(other), column).comparison()
    assert found == draws.iou(one).column(column).minus(draws.iou(other).column(column)).comparison()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(0, 30), st.lists(st.sampled_from("abcdef"), min_size=2, max_size=9, unique=True)
)
def test_the_first_minus_the_second_mirrors_the_second_minus_the_first(
    seed: int, quality: int, groups: list[str]
) -> None:
    draws = Draws.of(groups, resamples=40, seed=seed)
    one, other = (draws.iou(confusions(seed + n, quality + n, len(groups))) for n in range(2))
    for there, back in zip(one.compare(other), other.compare(one), strict=True):
        assert there.difference == -back.difference
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
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
    zero = SampledScores(*(np.zeros_like(part) for part in (found.whole_c, found.samples_bc, found.left_out_gc)))
    wide, plain = found.minus(zero).comparison(), interval(found.samples_bc[:, 0])
    assert wide.high - wide.low > 1.3 * (plain.high - plain.low)  # t at 4 degrees is 2.8, at 29 it is 2.0


def test_a_higher_level_gives_a_wider_interval() -> None:
    draws = Draws.of(GROUPS, resamples=300)
    found = draws.iou(confusions(1)).minus(draws.iou(confusions(2)))
    narrow, wide = found.comparison(level=0.5), found.comparison(level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_same_and_clearly_better_systems() -> None:
    draws, tables = Draws.of(GROUPS, resamples=1000), confusions(6)
    base, better = draws.iou(tables), draws.iou(tables + 20 * np.eye(3, dtype=int))
    found = better.minus(base).comparison()
    assert not found.covers_zero
    assert found.probability_of_improvement == 1.0
    assert not base.minus(better).comparison().covers_zero


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
