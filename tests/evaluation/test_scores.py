"""All scores of a system against torchmetrics, Keras and direct computation, whatever the batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MulticlassJaccardIndex,
)

from ensemble.core.errors import EnsError
from ensemble.evaluation import Bootstrap, boundary_counts, boundary_f1, calibration_error_interval, interval
from ensemble.evaluation.caveats import ENOUGH_GROUPS
from ensemble.evaluation.proportion_intervals import class_intervals, share_interval
from ensemble.evaluation.scores import SCORES
from ensemble.evaluation.tally import Tally

CLASSES = ("soil", "rock", "sand")
GROUPS = [f"scene-{row // 2}" for row in range(20)]


def random_case(seed: int = 0, images: int = 20, classes: int = 3) -> tuple[Any, Any]:
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
    assert (scores["images"], scores["groups"]) == (20, 10)
    assert scores["images_per_class"] == [20, 20, 1]
    assert scores["groups_per_class"] == [10, 10, 1]


def test_decisions_move_class_scores_but_not_those_of_probabilities() -> None:
    probs, labels = random_case()
    decided = np.zeros_like(labels)
    plain = tally_of(probs, labels).scores(GROUPS, CLASSES)
    moved = tally_of(probs, labels, predictions_nhw=decided).scores(GROUPS, CLASSES)
    assert moved["iou"]["rock"] == moved["iou"]["sand"] == 0
    assert moved["miou"] < plain["miou"]
    assert moved["boundary_f1"] == 0 < plain["boundary_f1"]
    for name in ("log_loss", "brier", "ece"):
        assert moved[name] == plain[name]


def test_dice_and_boundaries_are_means_over_the_classes() -> None:
    probs, labels = random_case()
    scores = tally_of(probs, labels).scores(GROUPS, CLASSES)
    given = torch.tensor(probs), torch.tensor(labels.astype(np.int64))
    dice = MulticlassF1Score(3, ignore_index=255, average="none")(*given)
    assert list(scores["dice_per_class"].values()) == pytest.approx(dice.tolist(), rel=1e-6)
    assert scores["dice"] == pytest.approx(dice.mean().item(), rel=1e-6)
    boundary = boundary_f1(boundary_counts(labels, probs.argmax(1), 3).sum(0))
    assert scores["boundary_f1_per_class"] == dict(zip(CLASSES, boundary.tolist(), strict=True))
    assert scores["boundary_f1"] == pytest.approx(boundary.mean())
    assert 0 < scores["boundary_f1"] < 1


def test_boundaries_rest_on_few_images() -> None:
    labels = np.zeros((20, 6, 5), np.uint8)
    labels[2:5, 3:] = 1
    labels[2, 3] = 255  # void between the two
    scores = tally_of(random_case()[0], labels).scores(GROUPS, CLASSES, resamples=20)
    assert scores["boundary_images"] == 2


def scores_of_images(rows: Any, **more: Any) -> dict[str, Any]:
    """Scores of some of the images, or of images taken several times: what sums over groups must come to."""
    probs, labels = random_case()
    more = {name: value[rows] for name, value in more.items()}
    return tally_of(probs[rows], labels[rows], **more).scores(["all"] * len(rows), CLASSES)


def test_intervals_are_those_of_scores_of_other_images() -> None:
    """Every limit from scores of images that are left out or drawn again, each counted and scored anew."""
    probs, labels = random_case()
    raw = probs.argmax(1)
    raw[::3, 0] = 3
    tally = tally_of(probs, labels, raw_predictions_nhw=raw)
    scores = tally.scores(GROUPS, CLASSES, resamples=40)
    drawn = Bootstrap.draw(GROUPS, resamples=40)
    rows = np.arange(20)
    without = [scores_of_images(rows[rows // 2 != group], raw_predictions_nhw=raw) for group in range(10)]
    again = [
        scores_of_images(np.repeat(rows, np.repeat(counts_g, 2)), raw_predictions_nhw=raw)
        for counts_g in drawn.counts_bg
    ]
    for name in ("miou_keras", "log_loss", "brier"):
        left_out_g, samples_b = (np.array([each[name] for each in part]) for part in (without, again))
        expected = interval(samples_b, left_out_g=left_out_g)
        found = scores[f"{name}_low"], scores[f"{name}_high"]
        assert found == pytest.approx((expected.low, expected.high), rel=1e-9), name
    for name, each in (("miou", "iou"), ("dice", "dice_per_class"), ("boundary_f1", "boundary_f1_per_class")):
        left_out_gk = np.array([list(part[each].values()) for part in without])
        mean, *limits = class_intervals(np.array(list(scores[each].values())), left_out_gk, [10, 10, 10])
        assert (scores[f"{name}_low"], scores[f"{name}_high"]) == pytest.approx((mean.low, mean.high), rel=1e-9), name
        if each == "iou":
            assert list(scores["iou_low"].values()) == pytest.approx([limit.low for limit in limits], rel=1e-9)
            assert list(scores["iou_high"].values()) == pytest.approx([limit.high for limit in limits], rel=1e-9)
    left_out_g = np.array([part["pixel_accuracy"] for part in without])
    expected = share_interval(scores["pixel_accuracy"], left_out_g, 10)
    found = scores["pixel_accuracy_low"], scores["pixel_accuracy_high"]
    assert found == pytest.approx((expected.low, expected.high), rel=1e-9)
    gaps_n = tally.arrays()["reliability"][:, 1] - tally.arrays()["reliability"][:, 2]
    pixels_n = (labels != 255).sum((1, 2))
    expected = calibration_error_interval(
        drawn.totals(gaps_n),
        drawn.totals(pixels_n),
        gaps_n.sum(0),
        float(pixels_n.sum()),
        np.array([part["ece"] for part in without]),
    )
    assert (scores["ece_low"], scores["ece_high"]) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)
    for name in SCORES:
        assert scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"], name


def test_without_predicted_background_the_keras_reading_has_the_interval_of_the_mean() -> None:
    scores = tally_of(*random_case()).scores(GROUPS, CLASSES, resamples=50)
    assert [scores[f"miou_keras_{end}"] for end in ("low", "high")] == [
        scores[f"miou_{end}"] for end in ("low", "high")
    ]


@pytest.mark.parametrize("groups", [ENOUGH_GROUPS, ENOUGH_GROUPS - 1, 1])
def test_too_few_groups_have_scores_without_an_interval(groups: int) -> None:
    probs, labels = random_case()
    scores = tally_of(probs, labels).scores([str(row % groups) for row in range(20)], CLASSES, resamples=50)
    if groups == ENOUGH_GROUPS:
        assert scores["miou_low"] < scores["miou_high"]
        assert scores["iou_low"]["soil"] < scores["iou_high"]["soil"]
        return
    assert all(math.isnan(scores[f"{name}_{end}"]) for name in SCORES for end in ("low", "high"))
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
    for name in SCORES:
        assert all(math.isnan(scores[key]) for key in (name, f"{name}_low", f"{name}_high")), name
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
    changed = {key for key, value in scores.items() if value != plain[key]}
    assert changed == {"miou_keras", "miou_keras_low", "miou_keras_high"}
    assert scores["miou_keras"] < 0.85 * scores["miou"]


@pytest.mark.filterwarnings("ignore")
def test_a_background_among_the_classes_is_ignored_where_it_is_true() -> None:
    probs, labels = random_case()
    labels[labels == 255] = 0
    scores = tally_of(probs, labels).scores(GROUPS, CLASSES, background=0)
    assert scores["miou_keras"] == pytest.approx(keras_score(labels, probs.argmax(1), 3), abs=1e-5)
    assert scores["miou_keras"] != pytest.approx(scores["miou"], abs=0.01)
