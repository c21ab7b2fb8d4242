"""All scores of a system against torchmetrics, Keras and direct computation, whatever the batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassJaccardIndex

from ensemble.errors import EnsError
from ensemble.evaluation import Bootstrap, interval
from ensemble.evaluation.scores import Tally

CLASSES = ("soil", "rock", "sand")
GROUPS = [f"scene-{row // 2}" for row in range(10)]


def random_case(seed: int = 0, images: int = 10, classes: int = 3) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, (images, 6, 5)).astype(np.uint8)
    truth = (labels[:, None] == np.arange(classes)[None, :, None, None]).astype(np.float64)
    logits = truth * 1.5 + random.normal(size=truth.shape)
    labels[random.random(labels.shape) < 0.2] = 255
    return torch.softmax(torch.tensor(logits), 1).numpy().astype(np.float32), labels


def tally_of(probs: Any, labels: Any, size: int = 100, **more: Any) -> Tally:
    tally = Tally(probs.shape[1])
    for start in range(0, len(probs), size):
        rows = slice(start, start + size)
        tally.add(probs[rows], labels[rows], **{name: value[rows] for name, value in more.items()})
    return tally


def test_equals_torchmetrics_and_direct_computation() -> None:
    probs, labels = random_case()
    scores = tally_of(probs, labels).scores(GROUPS, CLASSES)
    given = torch.tensor(probs), torch.tensor(labels.astype(np.int64))
    jaccard = MulticlassJaccardIndex(3, ignore_index=255, average="none")(*given)
    assert scores["miou"] == pytest.approx(jaccard.mean().item(), rel=1e-6)
    assert list(scores["iou"].values()) == pytest.approx(jaccard.tolist(), rel=1e-6)
    assert list(scores["iou"]) == list(CLASSES)
    accuracy = MulticlassAccuracy(3, ignore_index=255, average="micro")(*given)
    assert scores["pixel_accuracy"] == pytest.approx(accuracy.item(), rel=1e-6)
    error = MulticlassCalibrationError(3, n_bins=15, norm="l1", ignore_index=255)(*given)
    assert scores["ece"] == pytest.approx(error.item(), abs=1e-5)
    loss = torch.nn.functional.nll_loss(torch.log(given[0]), given[1], ignore_index=255)
    assert scores["log_loss"] == pytest.approx(loss.item(), rel=1e-5)
    mask = labels != 255
    truth = np.eye(3)[np.where(mask, labels, 0)].transpose(0, 3, 1, 2)
    assert scores["brier"] == pytest.approx(((probs - truth) ** 2).sum(1)[mask].mean(), rel=1e-5)


def test_counts_what_the_scores_rest_on() -> None:
    probs, labels = random_case()
    labels[labels == 2] = 0
    labels[3, 0, 0] = 2
    scores = tally_of(probs, labels).scores(GROUPS, CLASSES)
    assert (scores["images"], scores["groups"]) == (10, 5)
    assert scores["images_per_class"] == [10, 10, 1]


@pytest.mark.parametrize("size", [1, 3, 10])
def test_the_batch_size_changes_nothing(size: int) -> None:
    probs, labels = random_case()
    whole, parts = tally_of(probs, labels), tally_of(probs, labels, size)
    assert (whole.confusions_nkk == parts.confusions_nkk).all()
    assert (whole.log_loss_n == parts.log_loss_n).all()
    one, other = (each.scores(GROUPS, CLASSES, resamples=50) for each in (whole, parts))
    assert one["ece"] == pytest.approx(other["ece"], rel=1e-12)
    assert {k: v for k, v in one.items() if k != "ece"} == {k: v for k, v in other.items() if k != "ece"}


def test_decisions_move_class_scores_but_not_those_of_probabilities() -> None:
    probs, labels = random_case()
    decided = np.zeros_like(labels)
    plain = tally_of(probs, labels).scores(GROUPS, CLASSES)
    moved = tally_of(probs, labels, predictions_nhw=decided).scores(GROUPS, CLASSES)
    assert moved["iou"]["rock"] == moved["iou"]["sand"] == 0
    assert moved["miou"] < plain["miou"]
    for name in ("log_loss", "brier", "ece"):
        assert moved[name] == plain[name]


def test_intervals_are_those_of_the_group_bootstrap() -> None:
    probs, labels = random_case()
    tally = tally_of(probs, labels)
    scores = tally.scores(GROUPS, CLASSES, resamples=500)
    drawn = Bootstrap.draw(GROUPS, resamples=500)
    without = drawn.leave_one_out
    expected = interval(drawn.mean_iou(tally.confusions_nkk), left_out_g=without.mean_iou(tally.confusions_nkk))
    assert (scores["miou_low"], scores["miou_high"]) == (expected.low, expected.high)
    assert scores["miou_low"] < scores["miou"] < scores["miou_high"]
    rock = interval(drawn.iou(tally.confusions_nkk)[:, 1], left_out_g=without.iou(tally.confusions_nkk)[:, 1])
    assert (scores["iou_low"]["rock"], scores["iou_high"]["rock"]) == (rock.low, rock.high)


def test_two_groups_have_an_interval() -> None:
    probs, labels = random_case()
    scores = tally_of(probs, labels).scores(["a"] * 5 + ["b"] * 5, CLASSES, resamples=50)
    assert scores["miou_low"] < scores["miou_high"]


def test_one_group_has_scores_without_an_interval() -> None:
    probs, labels = random_case()
    scores = tally_of(probs, labels).scores(["all"] * 10, CLASSES)
    assert math.isnan(scores["miou_low"])
    assert math.isnan(scores["miou_high"])
    assert all(math.isnan(value) for limits in ("iou_low", "iou_high") for value in scores[limits].values())
    assert list(scores["iou_low"]) == list(CLASSES)
    assert scores["miou"] == tally_of(probs, labels).scores(GROUPS, CLASSES)["miou"]


def test_an_absent_class_has_no_score_and_is_left_out_of_the_mean() -> None:
    probs, labels = random_case()
    labels[labels == 2] = 255
    probs = np.concatenate([probs[:, :2] / probs[:, :2].sum(1, keepdims=True), np.zeros_like(probs[:, :1])], 1)
    scores = tally_of(probs, labels).scores(GROUPS, CLASSES)
    assert math.isnan(scores["iou"]["sand"])
    assert scores["miou"] == pytest.approx((scores["iou"]["soil"] + scores["iou"]["rock"]) / 2)


def test_void_only_has_no_scores_at_all() -> None:
    probs, labels = random_case()
    scores = tally_of(probs, np.full_like(labels, 255)).scores(GROUPS, CLASSES, resamples=20)
    for name in ("miou", "miou_keras", "pixel_accuracy", "log_loss", "brier", "ece", "miou_low", "miou_high"):
        assert math.isnan(scores[name]), name
    assert scores["images_per_class"] == [0, 0, 0]


def test_class_names_must_fit() -> None:
    probs, labels = random_case()
    with pytest.raises(ValueError, match="zip"):
        tally_of(probs, labels).scores(GROUPS, CLASSES[:2])
    with pytest.raises(EnsError, match="expected a group name for each image"):
        tally_of(probs, labels).scores(GROUPS[:-1], CLASSES)


# ---------------------------------------------------------------- the Keras reading


def keras_score(truth: Any, guess: Any, classes: int) -> float:
    keras = pytest.importorskip("keras")
    metric = keras.metrics.MeanIoU(num_classes=classes, ignore_class=0)
    metric.update_state(truth.ravel(), guess.ravel())
    return float(metric.result())


@pytest.mark.filterwarnings("ignore")  # Keras, a reference only, warns about its own dependencies (November 2026)
def test_without_predicted_background_the_keras_reading_is_the_mean() -> None:
    probs, labels = random_case()
    scores = tally_of(probs, labels).scores(GROUPS, CLASSES)
    truth = np.where(labels == 255, 0, labels + 1)
    assert scores["miou_keras"] == pytest.approx(scores["miou"])
    assert scores["miou_keras"] == pytest.approx(keras_score(truth, probs.argmax(1) + 1, 4), abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_raw_predictions_of_background_count_in_the_keras_reading_only() -> None:
    probs, labels = random_case()
    raw = probs.argmax(1)
    raw[:, :2, :2] = 3
    tally = tally_of(probs, labels, raw_predictions_nhw=raw)
    scores = tally.scores(GROUPS, CLASSES)
    truth = np.where(labels == 255, 0, labels + 1)
    assert scores["miou_keras"] == pytest.approx(keras_score(truth, (raw + 1) % 4, 4), abs=1e-5)
    plain = tally_of(probs, labels).scores(GROUPS, CLASSES)
    assert {k: v for k, v in scores.items() if k != "miou_keras"} == {
        k: v for k, v in plain.items() if k != "miou_keras"
    }
    assert scores["miou_keras"] < 0.85 * scores["miou"]


@pytest.mark.filterwarnings("ignore")
def test_a_background_among_the_classes_is_ignored_where_it_is_true() -> None:
    probs, labels = random_case()
    labels[labels == 255] = 0
    scores = tally_of(probs, labels).scores(GROUPS, CLASSES, background=0)
    assert scores["miou_keras"] == pytest.approx(keras_score(labels, probs.argmax(1), 3), abs=1e-5)
    assert scores["miou_keras"] != pytest.approx(scores["miou"], abs=0.01)


# ---------------------------------------------------------------- tables


def test_tables_hold_one_matrix_per_image() -> None:
    probs, labels = random_case()
    raw = np.full(labels.shape, 3)
    plain = tally_of(probs, labels).arrays()
    assert set(plain) == {"confusions", "log_loss"}
    assert plain["confusions"].shape == (10, 3, 3)
    assert (plain["confusions"].sum((1, 2)) == (labels != 255).sum((1, 2))).all()
    assert plain["log_loss"].shape == (10,)
    with_raw = tally_of(probs, labels, 4, raw_predictions_nhw=raw).arrays()
    assert with_raw["raw_confusions"].shape == (10, 3, 4)
    assert (with_raw["raw_confusions"][..., 3].sum(1) == (labels != 255).sum((1, 2))).all()
