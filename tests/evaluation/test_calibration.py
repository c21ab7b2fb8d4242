"""Log-loss, Brier score and calibration error against sklearn, torchmetrics and numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.evaluation import (
    brier_sums,
    expected_calibration_error,
    log_loss_sums,
    probability_tables,
    reliability,
)

CLASSES = 4


def random_case(seed: int, sharpness: float = 2.0, images: int = 6) -> tuple[Any, Any]:
    """Softmax outputs that know something of the truth, and labels with a quarter of void."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, (images, 12, 20))
    logits = random.normal(size=(images, CLASSES, 12, 20)) * sharpness
    logits += 1.5 * (labels[:, None] == np.arange(CLASSES)[None, :, None, None])
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels[random.random(labels.shape) < 0.25] = 255
    return probs.astype(np.float32), labels


def flat(probs_nchw: Any, labels_nhw: Any) -> tuple[Any, Any]:
    """Labelled pixels only: (pixels, classes) and (pixels,)."""
    mask = labels_nhw != 255
    return np.moveaxis(probs_nchw, 1, -1)[mask], labels_nhw[mask]


def pixel(*probs: float) -> Any:
    return np.array(probs).reshape(1, -1, 1, 1)


@pytest.mark.parametrize("seed", range(3))
def test_log_loss_equals_sklearn(seed: int) -> None:
    from sklearn.metrics import log_loss

    probs, labels = random_case(seed)
    rows, truth = flat(probs.astype(np.float64), labels)
    rows /= rows.sum(axis=1, keepdims=True)
    expected = log_loss(truth, rows, normalize=False, labels=range(CLASSES))
    assert log_loss_sums(probs, labels).sum() == pytest.approx(expected, rel=1e-6)


def test_brier_equals_one_hot_arithmetic_and_binary_sklearn() -> None:
    from sklearn.metrics import brier_score_loss

    probs, labels = random_case(3)
    rows, truth = flat(probs.astype(np.float64), labels)
    expected = ((rows - np.eye(CLASSES)[truth]) ** 2).sum()
    assert brier_sums(probs, labels).sum() == pytest.approx(expected, rel=1e-6)
    two = np.stack([probs[:, 0], 1 - probs[:, 0]], axis=1)
    binary = np.where(labels == 255, 255, np.minimum(labels, 1))
    rows, truth = flat(two.astype(np.float64), binary)
    half = brier_score_loss(truth == 0, rows[:, 0])  # sklearn's binary score counts one of the two classes
    assert brier_sums(two, binary).sum() / len(truth) == pytest.approx(2 * half, rel=1e-5)


@pytest.mark.parametrize(("seed", "sharpness", "bins"), [(0, 2.0, 15), (1, 0.3, 15), (2, 3.0, 7)])
def test_calibration_error_equals_torchmetrics(seed: int, sharpness: float, bins: int) -> None:
    import torch
    from torchmetrics.classification import MulticlassCalibrationError

    probs, labels = random_case(seed, sharpness)
    metric = MulticlassCalibrationError(num_classes=CLASSES, n_bins=bins, norm="l1", ignore_index=255)
    expected = float(metric(torch.from_numpy(probs), torch.from_numpy(labels)))
    assert expected > 0.02
    assert expected_calibration_error(reliability(probs, labels, bins)) == pytest.approx(expected, abs=1e-5)


def test_a_certain_pixel_shares_the_last_bin() -> None:
    # one right at 0.95 and one wrong at 1.0: a gap of |1.95 - 1| / 2 together; apart (torchmetrics) it would be 0.525
    probs, labels = np.concatenate([pixel(0.95, 0.05), pixel(1.0, 0.0)]), np.array([[[0]], [[1]]])
    table = reliability(probs, labels, bins=10)
    assert table[:, -1].tolist() == pytest.approx([2, 1.95, 1])
    assert expected_calibration_error(table) == pytest.approx(0.475)


def test_edges_belong_to_the_upper_bin() -> None:
    table = reliability(np.concatenate([pixel(0.5, 0.5), pixel(0.49, 0.51)]), np.zeros((2, 1, 1), int), bins=2)
    assert table.tolist() == [[0, 2], [0, pytest.approx(1.01)], [0, 1]]
    tenths = np.array([0.6, 0.7, 0.8]).reshape(3, 1, 1, 1).astype(np.float32)  # 0.7 in float32 is less than 0.7
    case = np.concatenate([tenths, 1 - tenths], axis=1)
    assert reliability(case, np.zeros((3, 1, 1), int), bins=10)[0].tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 0]


def test_one_bin_and_one_class() -> None:
    probs, labels = random_case(4)
    table = reliability(probs, labels, bins=1)
    rows, truth = flat(probs, labels)
    assert table[:, 0].tolist() == pytest.approx(
        [len(truth), rows.max(1).sum(dtype=float), (rows.argmax(1) == truth).sum()], rel=1e-6
    )
    ones = np.ones((1, 1, 2, 2))
    assert log_loss_sums(ones, np.zeros((1, 2, 2), int)).tolist() == [0.0]
    assert expected_calibration_error(reliability(ones, np.zeros((1, 2, 2), int))) == 0.0


def test_zero_probability_costs_a_finite_known_loss() -> None:
    assert log_loss_sums(pixel(0.0, 1.0), np.array([[[0]]])).tolist() == [pytest.approx(-math.log(1e-7))]
    assert brier_sums(pixel(0.0, 1.0), np.array([[[0]]])).tolist() == [2.0]


def test_half_precision_probabilities() -> None:
    probs, labels = random_case(5)
    np.testing.assert_allclose(log_loss_sums(probs.astype(np.float16), labels), log_loss_sums(probs, labels), rtol=1e-3)
    np.testing.assert_allclose(brier_sums(probs.astype(np.float16), labels), brier_sums(probs, labels), rtol=1e-3)


def test_all_void() -> None:
    probs, labels = random_case(6)
    void = np.full_like(labels, 255)
    assert not log_loss_sums(probs, void).any()
    assert not brier_sums(probs, void).any()
    assert not reliability(probs, void).any()
    assert math.isnan(expected_calibration_error(reliability(probs, void)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.integers(0, 6))
def test_sums_add_up_over_batches_and_void_changes_nothing(seed: int, cut: int) -> None:
    probs, labels = random_case(seed)
    parts = (slice(cut), slice(cut, None))
    for sums in (log_loss_sums, brier_sums):
        np.testing.assert_array_equal(np.concatenate([sums(probs[p], labels[p]) for p in parts]), sums(probs, labels))
    added = sum(reliability(probs[part], labels[part]) for part in parts)
    np.testing.assert_allclose(added, reliability(probs, labels), rtol=1e-12)
    assert reliability(probs, labels)[0].sum() == (labels != 255).sum()
    changed = np.where((labels == 255)[:, None], np.float32(0.25), probs)
    np.testing.assert_array_equal(log_loss_sums(changed, labels), log_loss_sums(probs, labels))
    np.testing.assert_array_equal(brier_sums(changed, labels), brier_sums(probs, labels))
    np.testing.assert_array_equal(reliability(changed, labels), reliability(probs, labels))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([np.float16, np.float32, np.float64]), st.integers(1, 200))
def test_one_pass_finds_what_each_score_finds(seed: int, dtype: Any, bins: int) -> None:
    probs, labels = random_case(seed, images=3)
    probs = probs.astype(dtype)
    probs[:, 1, :4] = probs[:, 2, :4]  # ties: the first of equals
    tables = probability_tables(probs, labels, bins)
    np.testing.assert_array_equal(tables.log_loss_n, log_loss_sums(probs, labels))
    np.testing.assert_array_equal(tables.brier_n, brier_sums(probs, labels))
    np.testing.assert_array_equal(tables.top_nhw, probs.argmax(1))
    for image, table in enumerate(tables.reliability_n3b):
        mask = labels[image] != 255
        sure = probs[image].max(0)[mask].astype(np.float32)
        right = (probs[image].argmax(0) == labels[image])[mask]
        edges = np.linspace(0, 1, bins + 1, dtype=np.float32)
        place = np.searchsorted(edges[1:-1], sure, side="right")
        assert table[0].tolist() == np.bincount(place, minlength=bins).tolist()
        np.testing.assert_allclose(table[1], np.bincount(place, sure, minlength=bins), rtol=1e-12)
        assert table[2].tolist() == np.bincount(place, right, minlength=bins).tolist()
    np.testing.assert_allclose(tables.reliability_n3b.sum(0), reliability(probs, labels, bins), rtol=1e-12)


def test_calibrated_probabilities_have_almost_no_error() -> None:
    random = np.random.default_rng(0)
    probs = random.dirichlet(np.ones(CLASSES), size=(4, 100, 100)).transpose(0, 3, 1, 2)
    labels = (random.random((4, 1, 100, 100)) > probs.cumsum(axis=1)).sum(axis=1)
    honest = expected_calibration_error(reliability(probs, labels))
    sharp = probs**4 / (probs**4).sum(axis=1, keepdims=True)
    assert honest < 0.012
    assert expected_calibration_error(reliability(sharp, labels)) > 0.2


LABELS = np.zeros((1, 1, 1), dtype=int)


@pytest.mark.parametrize("score", [log_loss_sums, brier_sums, reliability, probability_tables])
@pytest.mark.parametrize(
    ("probs", "labels", "message"),
    [
        (pixel(-3.2, 4.0), LABELS, r"between 0 and 1, got -3\.2\.\.4; apply softmax"),
        (pixel(0.5, 2.0), LABELS, r"got 0\.5\.\.2; apply softmax"),
        (pixel(math.nan, 1.0), LABELS, "got nan"),
        (pixel(0.5, 0.5), LABELS + 2, r"labels 0\.\.1 or 255 for void, got 2"),
        (pixel(0.5, 0.5), LABELS[0], r"labels of shape \(1, 1, 1\), got \(1, 1\)"),
        (pixel(0.5, 0.5)[0], LABELS, r"shape \(images, classes, height, width\), got float64 of shape \(2, 1, 1\)"),
        (pixel(0, 1).astype(np.uint8), LABELS, "expected float probabilities .* got uint8"),
    ],
)
def test_mistakes_are_explained(score: Any, probs: Any, labels: Any, message: str) -> None:
    with pytest.raises(EnsError, match=message):
        score(probs, labels)


def test_wrong_tables_are_explained() -> None:
    with pytest.raises(EnsError, match="at least one bin, got 0"):
        reliability(pixel(0.5, 0.5), LABELS, bins=0)
    with pytest.raises(EnsError, match=r"table \(3, bins\) from reliability\(\), got shape \(2, 5\)"):
        expected_calibration_error(np.zeros((2, 5)))
