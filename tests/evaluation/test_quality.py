"""Estimates of quality: hand-worked numbers, statsmodels, SciPy, split-conformal prediction, properties, few groups."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from ensemble.evaluation.quality import (
    QualityModel,
    _mean_ranks,  # pyright: ignore[reportPrivateUsage]
    expected_counts,
    features_of,
    fit_quality,
    out_of_fold,
    quality_sentence,
    true_quality,
    validate_quality,
)

NAMES = [f"g{number:03d}" for number in range(400)]


def planted(images: int, seed: int = 0, noise: float = 0.05) -> tuple[Any, Any]:
    """Features, and a truth that is 0.1 + 0.7 J - 0.3 D with noise."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([rng.uniform(0.3, 0.9, images), rng.uniform(0, 0.5, images)])
    truth = 0.1 + 0.7 * features[:, 0] - 0.3 * features[:, 1] + noise * rng.normal(size=images)
    return features, np.clip(truth, 0, 1)


def test_features_by_hand() -> None:
    """Two pixels of two classes: p = (0.8, 0.2) and (0.4, 0.6), decided as 0 and 1."""
    probs = np.array([[0.8, 0.4], [0.2, 0.6]]).reshape(1, 2, 1, 2)
    counts = expected_counts(probs, np.array([[[0, 1]]]))
    np.testing.assert_allclose(counts, [[[0.8, 1.2, 1], [0.6, 0.8, 1]]])
    found = features_of(np.concatenate([counts, [[[0.5], [0.1]]]], axis=2))
    expected = [0.8 / (1.2 + 1 - 0.8), 0.6 / (0.8 + 1 - 0.6)]
    assert found[0, :, 0].tolist() == pytest.approx([sum(expected) / 2, *expected])
    np.testing.assert_allclose(found[0, :, 1], [0.3, 0.5, 0.1])


def test_a_class_that_is_not_in_the_map_has_no_features() -> None:
    counts = expected_counts(np.array([0.9, 0.1]).reshape(1, 2, 1, 1), np.zeros((1, 1, 1), int))
    found = features_of(np.concatenate([counts, np.zeros((1, 2, 1))], axis=2))
    assert np.isnan(found[0, 2]).all()
    assert found[0, 0, 0] == found[0, 1, 0] == pytest.approx(0.9)  # less than one pixel is expected: it counts as one


def test_the_truth_is_that_of_images() -> None:
    found = true_quality(np.array([[[2, 2], [0, 0]], [[1, 0], [0, 3]], [[0, 0], [0, 0]]]))
    np.testing.assert_array_equal(found, [[0.5, 0.5, 0], [1, 1, 1], [np.nan, np.nan, np.nan]])


def test_coefficients_are_those_of_least_squares() -> None:
    features, truth = planted(300)
    groups = [NAMES[n % 37] for n in range(300)]
    size = np.array([groups.count(name) for name in groups])
    model = fit_quality(features, truth, groups)
    assert model is not None
    model_of: Any = sm.WLS
    expected = model_of(truth, sm.add_constant(features), weights=1 / size).fit().params
    a, b, c = model.coefficients
    assert (a, 1 + b, c) == pytest.approx(expected, abs=0.03)  # the ridge is small
    assert model.groups == 37


@pytest.mark.parametrize("images", [10, 11, 25, 100])
def test_one_image_per_group_is_split_conformal(images: int) -> None:
    """The width is the error of rank ceil(0.9 (n + 1)), as in Lei et al."""
    features, truth = planted(images)
    model, error = fit_quality(features, truth, NAMES[:images]), np.empty(images)
    for fold in range(5):
        here = np.arange(images) % 5 == fold
        x = np.column_stack([np.ones((~here).sum()), features[~here]])
        gram = x.T @ x + 1e-3 * len(x) * np.diag([0, 1, 1])
        a, b, c = np.linalg.solve(gram, x.T @ (truth[~here] - features[~here, 0]))
        estimate = np.clip(a + (1 + b) * features[here, 0] + c * features[here, 1], 0, 1)
        error[here] = np.abs(truth[here] - estimate) / np.sqrt(estimate * (1 - estimate) + 0.01)
    assert model is not None
    assert model.width == pytest.approx(np.sort(error)[math.ceil(0.9 * (images + 1)) - 1])


def test_copies_of_an_image_in_a_group_change_nothing() -> None:
    features, truth = planted(40)
    once, thrice = (
        fit_quality(features.repeat(count, 0), truth.repeat(count), [name for name in NAMES[:40] for _ in range(count)])
        for count in (1, 3)
    )
    assert once is not None
    assert thrice is not None
    assert thrice.width == pytest.approx(once.width)
    assert thrice.coefficients == pytest.approx(once.coefficients)


def test_fewer_than_ten_groups_cannot_say() -> None:
    features, truth = planted(90)
    assert fit_quality(features, truth, [NAMES[n % 9] for n in range(90)]) is None
    assert (
        fit_quality(features, np.where(np.arange(90) % 10 == 0, np.nan, truth), [NAMES[n % 10] for n in range(90)])
        is None
    )
    found = out_of_fold(features, truth, [NAMES[n % 11] for n in range(90)])  # 8 or 9 remain without a fold
    scores = validate_quality(found, truth, [NAMES[n % 11] for n in range(90)])
    assert scores == {"images": 0, "groups": 0, "spearman": None, "coverage": None, "worst_found": None}
    assert quality_sentence(scores).endswith("cannot say, because fewer than 10 groups are left to fit on")
    assert quality_sentence(None) == quality_sentence(scores)


def test_validation_by_hand() -> None:
    truth = np.arange(20) / 20
    found = np.column_stack([truth, truth - 0.01, truth + 0.01])
    found[0, 0], found[3, 0] = 0.15, 0.0  # the image that looks worst is the fourth; the second worst is found
    found[5, 1] = 0.9  # one interval of 20 misses
    scores = validate_quality(found, truth, NAMES[:20])
    expected: Any = spearmanr(found[:, 0], truth)
    assert scores == {
        "images": 20,
        "groups": 20,
        "spearman": pytest.approx(expected[0]),
        "coverage": pytest.approx(0.95),
        "worst_found": 0.5,
    }
    assert "true mean IoU of an image 0.99; 90% intervals hold for 95%; of the worst tenth, 50% are found" in (
        quality_sentence(scores)
    )
    assert validate_quality(found, np.ones(20), NAMES[:20])["spearman"] is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_equal_values_share_their_mean_rank(values: list[int]) -> None:
    ours = _mean_ranks(np.array(values, float))
    np.testing.assert_array_equal(ours, rankdata(values))


def test_groups_weigh_the_same_in_the_coverage() -> None:
    groups = [*NAMES[:9], *[NAMES[9]] * 81]
    truth, hit = np.full(90, 0.5), np.arange(90) < 9
    found = np.column_stack([truth, np.where(hit, 0.4, 0.6), np.where(hit, 0.6, 0.7)])
    assert validate_quality(found, truth, groups)["coverage"] == pytest.approx(0.9)


@given(st.integers(0, 2**32 - 1), st.integers(10, 40), st.integers(1, 4), st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=40, deadline=None)
def test_intervals_hold_the_estimate_and_stay_between_zero_and_one(
    seed: int, groups: int, each: int, noise: float
) -> None:
    features, truth = planted(groups * each, seed, noise)
    features[:, 1] *= seed % 2  # a single member does not disagree
    model = fit_quality(features, truth, [NAMES[n // each] for n in range(groups * each)])
    assert model is not None
    estimate, low, high = model(features).T
    assert ((low >= 0) & (low <= estimate) & (estimate <= high) & (high <= 1)).all()
    covered = (low - 1e-9 <= truth) & (truth <= high + 1e-9)
    assert covered.mean() > 0.75  # of the images of the fit


def test_constant_features_give_the_mean() -> None:
    truth = np.linspace(0.2, 0.8, 30)
    model = fit_quality(np.tile([0.9, 0.0], (30, 1)), truth, NAMES[:30])
    assert model is not None
    assert model(np.array([[0.9, 0.0]]))[0, 0] == pytest.approx(0.5, abs=1e-3)
    assert np.isnan(QualityModel((0, 0, 0), 1, 10)(np.full((1, 2), np.nan))).all()
