"""The mean IoU as Keras computes it, against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ensemble.core.errors import EnsError
from ensemble.evaluation import confusion_per_image, keras_mean_iou, mean_iou
from tests.evaluation.test_confusion import CLASSES, random_maps


def keras_score(labels: Any, predictions: Any) -> float:
    """The published metric on ids 0 = background and 1..4 = our 0..3; our 4 is the background channel."""
    import keras

    metric: Any = keras.metrics.MeanIoU(num_classes=CLASSES + 1, ignore_class=0)
    ids = np.array([1, 2, 3, 4, 0])
    truth = np.where(labels == 255, 0, ids[np.where(labels == 255, 0, labels)])
    metric.update_state(truth.reshape(-1), ids[predictions].reshape(-1))
    return float(metric.result())


@pytest.mark.parametrize("seed", range(3))
def test_equals_keras(seed: int) -> None:
    labels, predictions = random_maps(seed, predicted=CLASSES + 1)
    expected = keras_score(labels, predictions)
    wide = confusion_per_image(labels, predictions, CLASSES, predicted=CLASSES + 1).sum(axis=0)
    assert keras_mean_iou(wide) == pytest.approx(expected, abs=1e-6)
    # the same with background as class 4 of five, true on the void pixels
    square = confusion_per_image(np.where(labels == 255, CLASSES, labels), predictions, CLASSES + 1).sum(axis=0)
    assert keras_mean_iou(square, background=CLASSES) == pytest.approx(expected, abs=1e-6)
    assert square[CLASSES].any()
    assert keras_mean_iou(wide) < mean_iou(wide) * 0.81  # the artefact: background is one more class with IoU 0


@pytest.mark.parametrize(("stray_share", "keras", "ours"), [(0.0, 1.0, 1.0), (1e-4, 0.8, 0.9999), (0.1, 0.72, 0.9)])
def test_one_stray_pixel_costs_a_fifth(stray_share: float, keras: float, ours: float) -> None:
    labels = np.repeat(np.arange(CLASSES, dtype=np.uint8), 10_000).reshape(CLASSES, 100, 100)
    predictions = labels.astype(int)
    predictions.reshape(CLASSES, -1)[:, : round(stray_share * 10_000)] = CLASSES
    table = confusion_per_image(labels, predictions, CLASSES, predicted=CLASSES + 1).sum(axis=0)
    assert keras_mean_iou(table) == pytest.approx(keras, abs=2e-4)
    assert keras_mean_iou(table) == pytest.approx(keras_score(labels, predictions), abs=1e-6)
    assert mean_iou(table) == pytest.approx(ours, abs=1e-9)


def test_wrong_matrices_are_explained() -> None:
    with pytest.raises(EnsError, match=r"\(\.\.\., k, k \+ 1\), got shape \(2, 4\)"):
        keras_mean_iou(np.ones((2, 4)))
    with pytest.raises(EnsError, match="leave it out where the last column is the background"):
        keras_mean_iou(np.ones((4, 5)), background=0)
    with pytest.raises(EnsError, match=r"one of the classes 0\.\.3 .* got 4"):
        keras_mean_iou(np.ones((4, 4)), background=4)


def test_keras_mean_iou_leaves_its_argument_alone() -> None:
    table = np.ones((3, 3), dtype=int)
    keras_mean_iou(table, background=0)
    assert (table == 1).all()
