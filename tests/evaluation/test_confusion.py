"""Confusion matrices and IoU: hand-worked tables, torchmetrics, properties."""

from __future__ import annotations

import doctest
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ensemble.core.errors import EnsError
from ensemble.evaluation import (
    bootstrap,
    calibration,
    confusion,
    confusion_per_image,
    dice_per_class,
    iou_per_class,
    keras_mean_iou,
    mean_iou,
    pixel_accuracy,
    void,
)

CLASSES = 4


def random_maps(seed: int, predicted: int = CLASSES, images: int = 5) -> tuple[Any, Any]:
    """Labels with a third of void, and predictions that are right on about two thirds of the labelled pixels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, (images, 16, 24)).astype(np.uint8)
    predictions = np.where(random.random(labels.shape) < 0.67, labels, random.integers(0, predicted, labels.shape))
    labels[random.random(labels.shape) < 0.33] = 255
    return labels, predictions


maps = st.integers(0, 2**16).map(random_maps)


# ---------------------------------------------------------------- hand-worked


def test_four_pixels_by_hand() -> None:
    labels = np.array([[[0, 0], [1, 255]]], dtype=np.uint8)
    predictions = np.array([[[0, 1], [1, 7]]])  # the void pixel may hold anything
    table = confusion_per_image(labels, predictions, classes=3)
    assert table.dtype == np.int64
    assert table.tolist() == [[[1, 1, 0], [0, 1, 0], [0, 0, 0]]]
    assert iou_per_class(table[0])[:2].tolist() == [0.5, 0.5]
    assert np.isnan(iou_per_class(table[0])[2])  # absent: neither 0 nor -1
    assert mean_iou(table[0]) == 0.5
    assert pixel_accuracy(table[0]) == pytest.approx(2 / 3)
    assert dice_per_class(table[0])[:2].tolist() == pytest.approx([2 / 3, 2 / 3])


def test_rows_are_truth_and_images_are_apart() -> None:
    labels, predictions = np.array([[[0, 0]], [[1, 1]]]), np.array([[[1, 1]], [[1, 0]]])
    assert confusion_per_image(labels, predictions, classes=2).tolist() == [[[0, 2], [0, 0]], [[0, 0], [1, 1]]]


def test_extra_background_column_counts_as_missed() -> None:
    labels, predictions = np.array([[[0, 0, 1, 1]]]), np.array([[[0, 2, 1, 1]]])
    table = confusion_per_image(labels, predictions, classes=2, predicted=3)
    assert table.tolist() == [[[1, 0, 1], [0, 2, 0]]]
    assert iou_per_class(table[0]).tolist() == [0.5, 1.0]
    assert pixel_accuracy(table[0]) == 0.75
    assert dice_per_class(table[0]).tolist() == pytest.approx([2 / 3, 1.0])
    assert keras_mean_iou(table[0]) == 0.5  # the third "class" has IoU 0


def test_nothing_labelled_is_nan_without_a_warning() -> None:
    table = confusion_per_image(np.full((2, 4, 4), 255), np.zeros((2, 4, 4), int), classes=3)
    assert not table.any()
    for score in (mean_iou, pixel_accuracy, keras_mean_iou):
        assert np.isnan(score(table)).tolist() == [True, True]


def test_true_but_not_predicted_is_zero_not_nan() -> None:
    assert iou_per_class(np.array([[3, 0], [1, 0]])).tolist() == [0.75, 0.0]


def test_uint8_does_not_overflow() -> None:
    labels = np.full((1, 1, 3), 199, dtype=np.uint8)
    assert confusion_per_image(labels, labels, classes=200)[0, 199, 199] == 3


def test_a_class_absent_from_the_truth_has_no_score_whatever_is_predicted() -> None:
    labels = np.array([[[0, 0, 0, 0], [1, 1, 1, 1]]], dtype=np.uint8)
    clean, stray = labels.astype(int), labels.astype(int)
    stray[0, 0, 0] = 2  # one pixel of a class that the truth does not hold
    for predictions, first, overall in ((clean, 1.0, 1.0), (stray, 0.75, 0.875)):
        table = confusion_per_image(labels, predictions, classes=3)[0]
        assert iou_per_class(table)[:2].tolist() == [first, 1.0]
        assert np.isnan([iou_per_class(table)[2], dice_per_class(table)[2]]).all()
        assert mean_iou(table) == overall
    assert keras_mean_iou(table) == pytest.approx((0.75 + 1 + 0) / 3)  # Keras makes it a class with IoU 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16))
def test_all_systems_are_averaged_over_the_same_classes(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth_k = random.integers(0, 20, CLASSES) * (random.random(CLASSES) < 0.6)
    tables = random.multinomial(truth_k, random.dirichlet(np.ones(CLASSES), (5, CLASSES)))  # five systems, one truth
    scored = ~np.isnan(iou_per_class(tables))
    assert (scored == (truth_k > 0)).all()


# ---------------------------------------------------------------- references


@pytest.mark.parametrize("seed", range(3))
def test_equals_torchmetrics(seed: int) -> None:
    import torch
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

    labels, predictions = random_maps(seed)
    labels[labels == 3], predictions[predictions == 3] = 255, 2  # class 3 absent: left out by both
    target, guess = torch.from_numpy(labels).long(), torch.from_numpy(predictions).long()
    table = confusion_per_image(labels, predictions, CLASSES).sum(axis=0)
    options: dict[str, Any] = {"num_classes": CLASSES, "ignore_index": 255}
    assert MulticlassConfusionMatrix(**options)(guess, target).tolist() == table.tolist()
    assert mean_iou(table) == pytest.approx(float(MulticlassJaccardIndex(**options)(guess, target)), abs=1e-6)
    per_class = MulticlassJaccardIndex(**options, average="none")(guess, target).numpy()
    np.testing.assert_allclose(np.nan_to_num(iou_per_class(table)), per_class, atol=1e-6)
    accuracy = MulticlassAccuracy(**options, average="micro")(guess, target)
    assert pixel_accuracy(table) == pytest.approx(float(accuracy), abs=1e-6)


def test_dice_equals_torchmetrics_f1() -> None:
    import torch
    from torchmetrics.classification import MulticlassF1Score

    labels, predictions = random_maps(9)
    f1 = MulticlassF1Score(CLASSES, average="none", ignore_index=255)
    expected = f1(torch.from_numpy(predictions).long(), torch.from_numpy(labels).long()).numpy()
    table = confusion_per_image(labels, predictions, CLASSES).sum(axis=0)
    np.testing.assert_allclose(dice_per_class(table), expected, atol=1e-6)


# ---------------------------------------------------------------- properties


@settings(max_examples=40, deadline=None)
@given(maps, st.permutations(range(CLASSES)))
def test_relabelling_commutes(pair: tuple[Any, Any], order: list[int]) -> None:
    labels, predictions = pair
    table = confusion_per_image(labels, predictions, CLASSES)
    new = np.array([*order, *range(CLASSES, 255), 255])
    renamed = confusion_per_image(new[labels], new[predictions], CLASSES)
    assert (renamed[:, order][:, :, order] == table).all()
    np.testing.assert_allclose(iou_per_class(renamed)[:, order], iou_per_class(table))
    np.testing.assert_allclose(mean_iou(renamed), mean_iou(table))


@settings(max_examples=40, deadline=None)
@given(maps, st.integers(0, 5))
def test_batches_add_up_and_void_changes_nothing(pair: tuple[Any, Any], cut: int) -> None:
    labels, predictions = pair
    whole = confusion_per_image(labels, predictions, CLASSES)
    halves = [confusion_per_image(labels[part], predictions[part], CLASSES) for part in (slice(cut), slice(cut, None))]
    assert (np.concatenate(halves) == whole).all()
    assert whole.sum() == (labels != 255).sum()
    other = np.where(labels == 255, -predictions - 1, predictions)
    assert (confusion_per_image(labels, other, CLASSES) == whole).all()


@settings(max_examples=60, deadline=None)
@given(arrays(np.int64, (3, 4, 4), elements=st.integers(0, 20)))
def test_scores_stay_in_the_unit_interval(table: Any) -> None:
    table = table + np.eye(4, dtype=np.int64)  # every class is in truth and prediction
    for score in (iou_per_class(table), dice_per_class(table), mean_iou(table), pixel_accuracy(table)):
        kept = score[~np.isnan(score)]
        assert ((kept >= 0) & (kept <= 1)).all()
    iou = iou_per_class(table)
    np.testing.assert_allclose(dice_per_class(table), 2 * iou / (1 + iou))
    np.testing.assert_allclose(keras_mean_iou(table), mean_iou(table))
    np.testing.assert_allclose(iou_per_class(table.swapaxes(1, 2)), iou)  # IoU does not know which one is the truth
    np.testing.assert_allclose(iou_per_class(table * 0.5), iou)  # weighted tables


# ---------------------------------------------------------------- mistakes

SMALL = np.zeros((1, 2, 2), dtype=int)


@pytest.mark.parametrize(
    ("labels", "predictions", "options", "message"),
    [
        (SMALL + 4, SMALL, {"classes": 4}, r"labels 0\.\.3 or 255 for void, got 4; map"),
        (SMALL - 1, SMALL, {"classes": 4}, r"got -1; map"),
        (SMALL, SMALL + 4, {"classes": 4}, r"predictions 0\.\.3 on labelled pixels, got 4\.\.4 in image 0"),
        (SMALL, SMALL - 1, {"classes": 4, "predicted": 5}, r"predictions 0\.\.4 on labelled pixels, got -1\.\.-1"),
        (SMALL, SMALL[0], {"classes": 4}, r"shape \(1, 2, 2\), got int64 of shape \(2, 2\); take the argmax"),
        (SMALL, SMALL + 0.5, {"classes": 4}, "got float64 .*; take the argmax"),
        (SMALL + 0.5, SMALL, {"classes": 4}, r"integer labels of shape \(images, height, width\), got float64"),
        (SMALL[0], SMALL[0], {"classes": 4}, r"got int64 of shape \(2, 2\)"),
        (SMALL, SMALL, {"classes": 4, "predicted": 3}, "at least 4 prediction columns for 4 classes, got 3"),
        (SMALL, SMALL, {"classes": 256}, r"between 1 and 255 classes \(255 is void\), got 256"),
    ],
)
def test_mistakes_are_explained(labels: Any, predictions: Any, options: dict[str, int], message: str) -> None:
    with pytest.raises(EnsError, match=message):
        confusion_per_image(labels, predictions, **options)


def test_wrong_matrices_are_explained() -> None:
    with pytest.raises(EnsError, match=r"as many columns as rows, got shape \(3, 2\)"):
        iou_per_class(np.ones((3, 2)))
    with pytest.raises(EnsError, match=r"got shape \(4,\)"):
        mean_iou(np.ones(4))


# ---------------------------------------------------------------- the package


@pytest.mark.parametrize("module", [void, confusion, calibration, bootstrap])
def test_examples_in_docstrings_run(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_evaluation_imports_numpy_only() -> None:
    code = "import sys, ensemble.evaluation; print({'torch', 'pandas', 'scipy', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
