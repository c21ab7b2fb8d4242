"""Scores per image, per class and without what decides alone, against direct computation and worked cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ensemble.evaluation.more_scores import MORE_SCORES, OBJECT_SCORES, image_miou, more_scores
from ensemble.evaluation.objects import object_counts, object_f1, object_recall
from ensemble.evaluation.proportion_intervals import class_intervals
from ensemble.evaluation.strips import Strip
from ensemble.evaluation.tally import Tally

CLASSES = ("soil", "rock")


def case(images: int = 24, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    labels = np.kron(random.integers(0, 2, (images, 3, 4)), np.ones((4, 4), int)).astype(np.uint8)
    rock = np.clip(np.where(labels == 1, 0.7, 0.3) + random.normal(0, 0.25, labels.shape), 0, 1)
    labels[random.random(labels.shape) < 0.1] = 255
    return np.stack([1 - rock, rock], 1).astype(np.float32), labels


def scores_of(probs: Any, labels: Any, groups: list[str] | None = None, **more: Any) -> dict[str, Any]:
    tally = Tally(2)
    tally.add(probs, labels, **more)
    return tally.scores(groups or [f"g{row // 2}" for row in range(len(labels))], CLASSES, resamples=20)


def test_image_level_mean_iou_by_hand() -> None:
    labels = np.array([[[0, 0, 0, 1]], [[0, 0, 0, 0]], [[255, 255, 255, 255]]], np.uint8)
    guess = np.array([[[0, 0, 1, 1]], [[0, 1, 1, 1]], [[1, 1, 1, 1]]])
    probs = np.full((3, 2, 1, 4), 0.5, np.float32)
    scores = scores_of(probs, labels, list("abc"), predictions_nhw=guess)
    # First image: soil 2/3, rock 1/2. Second: soil 1/4; rock is not in its truth. Third: nothing is labelled.
    assert scores["image_miou"] == pytest.approx(((2 / 3 + 1 / 2) / 2 + 1 / 4) / 2)
    assert scores["miou"] == pytest.approx((3 / 7 + 1 / 5) / 2)
    assert np.isnan(scores["image_miou_low"])  # three groups


def test_image_level_mean_iou_has_an_interval_around_it() -> None:
    scores = scores_of(*case())
    assert scores["image_miou_low"] < scores["image_miou"] < scores["image_miou_high"]


def test_brier_and_calibration_error_of_each_class_directly() -> None:
    probs, labels = case()
    scores, known = scores_of(probs, labels), labels != 255
    for k, name in enumerate(CLASSES):
        squares = (probs[:, k].astype(float) - (labels == k)) ** 2
        assert scores["brier_per_class"][name] == pytest.approx(squares[known].mean(), rel=1e-6)
        taken = known & (probs.argmax(1) == k)
        bins = np.minimum((probs[:, k][taken] * 15).astype(int), 14)
        gaps = [(probs[:, k][taken] - (labels[taken] == k))[bins == b].sum() for b in range(15)]
        assert scores["ece_per_class"][name] == pytest.approx(np.abs(gaps).sum() / taken.sum(), abs=1e-3)
    assert sum(scores["brier_per_class"].values()) == pytest.approx(scores["brier"])


def test_a_planted_overconfident_class_is_the_one_that_is_seen() -> None:
    random = np.random.default_rng(0)
    called = random.random((40, 10, 10)) < 0.5  # rock is right in 60 % where 90 % is said, soil in 80 % as said
    right = random.random(called.shape) < np.where(called, 0.6, 0.8)
    labels = np.where(right, called, ~called).astype(np.uint8)
    rock = np.where(called, 0.9, 0.2)
    errors = scores_of(np.stack([1 - rock, rock], 1).astype(np.float32), labels)["ece_per_class"]
    assert errors["rock"] == pytest.approx(0.3, abs=0.03)
    assert errors["soil"] < 0.03


def test_classes_of_few_groups_are_left_out() -> None:
    probs, labels = case(60)
    labels[10:][labels[10:] == 1] = 255  # rock is left in 5 of 30 groups
    scores = scores_of(probs, labels)
    assert scores["rare_classes"] == ["rock"]
    assert scores["miou_without_rare"] == scores["iou"]["soil"] != scores["miou"]
    common = scores_of(*case(60))
    assert (common["rare_classes"], common["miou_without_rare"]) == ([], None)


def test_the_group_that_decides_is_named() -> None:
    labels = np.zeros((24, 10, 10), np.uint8)
    labels[:, :5] = 1
    guess = labels.copy()
    labels[::4, 0, 0] = 0  # a little disagreement elsewhere
    guess[6] = 1 - guess[6]
    probs = np.full((24, 2, 10, 10), 0.5, np.float32)
    scores = scores_of(probs, labels, predictions_nhw=guess)
    assert scores["deciding_group"] == "g3"
    kept = [row for row in range(24) if row not in (6, 7)]
    direct = scores_of(probs[kept], labels[kept], predictions_nhw=guess[kept])["miou"]
    assert scores["miou_without_group"] == pytest.approx(direct)
    assert scores["miou_without_group"] > scores["miou"] + 0.05
    even = scores_of(*case())
    assert (even["deciding_group"], even["miou_without_group"]) == (None, None)


def test_objects_are_those_of_the_counts_with_intervals_over_groups() -> None:
    probs, labels = case()
    scores, counts_nks4 = scores_of(probs, labels), object_counts(labels, probs.argmax(1), 2)
    whole_k4, groups = counts_nks4.sum((0, 2)), 12
    assert list(scores["object_f1_per_class"].values()) == object_f1(whole_k4).tolist()
    assert scores["object_recall"] == pytest.approx(object_recall(whole_k4).mean())
    left_out = np.stack([np.delete(counts_nks4, [2 * g, 2 * g + 1], 0).sum((0, 2)) for g in range(groups)])
    limits = class_intervals(object_f1(whole_k4), object_f1(left_out), [groups, groups])
    assert scores["object_f1_low"] == pytest.approx(limits[0].low)
    assert scores["object_f1_per_class_high"]["rock"] == pytest.approx(limits[2].high)
    rock = scores["objects"]["rock"]
    assert [rock[name] for name in ("right", "predicted", "found", "true")] == whole_k4[1].tolist()
    assert rock["tiny"]["true"] + rock["small"]["true"] == rock["true"]
    assert scores["object_images"] == 24
    assert all(f"{name}_{end}" in scores for name in MORE_SCORES for end in ("low", "high"))
    assert "object_precision" not in scores
    assert {f"{name}_per_class" for name in OBJECT_SCORES} <= set(scores)


def test_an_image_in_strips_has_the_scores_of_the_whole_image() -> None:
    probs, labels = case(2)
    whole, strips = Tally(2), Tally(2)
    whole.add(probs, labels)
    for row in range(2):
        for top in (0, 5, 8):
            rows = slice(top, {0: 5, 5: 8, 8: 12}[top])
            strips.add(probs[[row], :, rows], labels[[row], rows], strip=Strip(top, 12))
    for name, table in whole.arrays().items():
        assert strips.arrays()[name] == pytest.approx(table), name


def test_objects_are_left_out_when_they_are_not_counted() -> None:
    probs, labels = case()
    tally = Tally(2, shapes=False)
    tally.add(probs, labels)
    assert "objects" not in tally.arrays()
    assert not [name for name in more_scores(tally.arrays(), ["a"] * 24, CLASSES) if name.startswith("object")]


def test_image_miou_of_void() -> None:
    assert np.isnan(image_miou(np.zeros((1, 2, 2), int))).all()
