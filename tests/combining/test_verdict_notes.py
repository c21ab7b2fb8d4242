"""Notes below a verdict: groups that decide it, objects of the rarest class, decisions that expect too much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ensemble.combining.decision import Decision
from ensemble.combining.verdict import judge
from ensemble.combining.verdict_notes import decision_note, objects_note
from ensemble.evaluation.confusion import mean_iou


def test_a_difference_that_one_group_decides_is_named_with_its_rest() -> None:
    """All rock that only the method finds lies in one group; the rest of its gain is 1.25 points."""
    rock, soil = np.diag([0, 10]), np.diag([1000, 0])
    average = np.stack([soil + np.array([[0, 0], [2, 8]])] * 12 + [np.array([[1000, 0], [100, 0]])])
    method = np.stack([soil + rock] * 12 + [np.diag([1000, 100])])
    scenes = [f"scene-{number:02d}" for number in range(13)]
    systems: dict[str, Any] = {"method": method} | dict.fromkeys(("average", "best member", "member"), average)
    found = judge("learned", "unet", systems, scenes, ("soil", "rock"), resamples=50)
    whole = 100 * (mean_iou(method.sum(0)) - mean_iou(average.sum(0)))
    rest = 100 * (mean_iou(method[:12].sum(0)) - mean_iou(average[:12].sum(0)))
    assert whole > 2 * rest > 2
    text = f"{whole:+.2f} points of mIoU with all groups, {rest:+.2f} without the group that matters most (scene-12)."
    one_group = [note for note in found.notes if note.startswith("One group")]
    assert one_group == [
        f"One group of images makes most of 'learned' against {other}: {text}"
        for other in ("the average", "the best member (unet)")
    ]


def test_a_gain_that_all_groups_share_needs_no_note() -> None:
    scenes = [f"scene-{number:02d}" for number in range(13)]
    better, worse = np.stack([np.diag([90, 10])] * 13), np.stack([np.array([[90, 0], [4, 6]])] * 13)
    systems: dict[str, Any] = {"method": better} | dict.fromkeys(("average", "best member", "member"), worse)
    assert not [
        note for note in judge("l", "m", systems, scenes, ("a", "b"), resamples=50).notes if "One group" in note
    ]


def objects(right: int, predicted: int, found: int, images: int = 20) -> Any:
    """Counts of two objects of class 1 in each image."""
    counts_nk4 = np.zeros((images, 2, 4), np.int64)
    counts_nk4[:, 1] = right, predicted, found, 2
    return counts_nk4


def note(method: str, ours: Any, average: Any, groups: int = 20) -> str:
    names = [f"scene-{row % groups:02d}" for row in range(len(ours))]
    return objects_note(method, ours, average, names, "rock", 1)


def test_the_objects_of_the_rarest_class_are_counted_and_compared() -> None:
    text = note("learned", objects(2, 3, 2), objects(1, 1, 1))
    expected = (
        "Is 'rock', the rarest class, found? 'learned' finds 40 of 40 objects, and 40 of 60 predicted ones are right;"
        " the average finds 20 of 40 objects, and 20 of 20 predicted ones are right. Difference in the F1 of its"
        " objects, in points: "
    )
    assert text.startswith(f"{expected}+13.33 (")  # 2 * 2 / (3 + 2) - 2 * 1 / (1 + 2)


def test_objects_of_the_average_and_those_of_few_groups_have_no_difference() -> None:
    assert note("average", objects(1, 1, 1), objects(1, 1, 1)).endswith("20 of 20 predicted ones are right.")
    assert "Difference" not in note("learned", objects(2, 3, 2), objects(1, 1, 1), groups=9)


def test_nobody_finds_an_object() -> None:
    text = note("learned", objects(0, 3, 0), objects(0, 0, 0))
    assert text.endswith("the average finds 0 of 40 objects, and 0 of 0 predicted ones are right.")


def test_a_decision_that_expects_another_score_than_is_measured_is_not_to_be_trusted() -> None:
    confusion = np.array([[8, 2], [0, 10]])
    decision = Decision("iou", np.array([0.6, 0.25]), np.array([100.0, 10.0]))
    text = decision_note(decision, confusion)  # IoU 8 / 10 and 10 / 12
    assert text.startswith("The decision expects a mean IoU of 42.5 %, but 81.7 % were measured: the probabilities are")
    text = decision_note(replace(decision, score="dice"), confusion)  # Dice 16 / 18 and 20 / 22
    assert text.startswith(
        "The decision expects a mean Dice of 42.5 %, but 89.9 % were measured: the probabilities are"
    )
    assert decision_note(replace(decision, expected_c=np.array([0.8, 0.75])), confusion) == ""
    assert decision_note(Decision.argmax("iou", 2), confusion) == ""
    assert decision_note(None, confusion) == ""
