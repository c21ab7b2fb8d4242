"""Notes below a verdict: a group that decides it, objects of the rarest class, a decision that expects too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.advice import questions
from ensemble.combining.decision import Decision
from ensemble.core.formatting import counted
from ensemble.evaluation.caveats import too_few_groups
from ensemble.evaluation.confusion import class_counts, dice_of, iou_of, mean_present
from ensemble.evaluation.paired import Draws, SampledScores

NOTICED = 0.01  # difference in mIoU, one point, from which it is said that one group decides it
FAR = 0.1  # difference between expected and measured mean IoU from which a decision is not to be trusted


def one_group_notes(
    method: str, best_member: str, scores: Mapping[str, SampledScores], draws: Draws, rival: str
) -> tuple[str, ...]:
    """Return a note on each difference of a point or more of which more than half is gone without one group.

    Args:
        method: name of the method.
        best_member: name of the best member.
        scores: scores of ``method``, ``average`` and ``member``, the best one.
        draws: the resamples that they were scored on.
        rival: what stands in the place of the average.
    """
    titles = {"method": f"'{method}'", "average": rival, "member": f"the best member ({best_member})"}
    notes: list[str] = []
    for first, second in questions(method):
        difference = scores[first].minus(scores[second])
        whole, left_out_g = difference.estimate, difference.left_out_g
        place = int(np.nanargmin(left_out_g * np.sign(whole)))
        if abs(whole) >= NOTICED and left_out_g[place] * np.sign(whole) < abs(whole) / 2:
            notes.append(
                f"One group of images makes most of {titles[first]} against {titles[second]}: {100 * whole:+.2f} points"
                f" of mIoU with all groups, {100 * left_out_g[place]:+.2f} without the group that matters most"
                f" ({draws.left_out.names[place]})."
            )
    return tuple(notes)


def objects_note(
    method: str,
    found_nk4: NDArray[np.int64],
    average_nk4: NDArray[np.int64],
    groups: Sequence[str],
    name: str,
    rarest: int,
) -> str:
    """Return how many objects of the rarest class are found, and how many of the predicted ones are right.

    Args:
        method: name of the method.
        found_nk4: counts of objects of each image and class, of all sizes, from `object_counts`: of the method.
        average_nk4: those of the average.
        groups: group of each image.
        name: name of the rarest class.
        rarest: its number.
    """

    def shown(counts_nk4: NDArray[np.int64]) -> str:
        right, predicted, found, true = counts_nk4[:, rarest].sum(0).tolist()
        return f"{found} of {counted(true, 'object')}, and {right} of {predicted} predicted ones are right"

    note = f"Is '{name}', the rarest class, found? {method!r} finds {shown(found_nk4)}"
    if method == "average":
        return f"{note}."
    note += f"; the average finds {shown(average_nk4)}."
    if too_few_groups(len(set(groups))):
        return note
    if not found_nk4[:, rarest, 2].any() and not average_nk4[:, rarest, 2].any():
        return note
    draws = Draws.of(groups)
    difference = draws.objects(found_nk4).compare(draws.objects(average_nk4))[1 + rarest]
    return f"{note} Difference in the F1 of its objects, in points: {difference.in_points}."


def decision_note(decision: Decision | None, confusion_kk: NDArray[np.int64]) -> str:
    """Return a caution if the score that a decision expects is far from the measured one; empty if it is not.

    Args:
        decision: the decision.
        confusion_kk: confusion matrix of its class maps, cross-fitted.

    >>> decision_note(None, np.eye(2, dtype=int))
    ''
    """
    if decision is None or not decision.expected_c.any():
        return ""
    name, of = {"iou": ("IoU", iou_of), "dice": ("Dice", dice_of)}[decision.score]
    expected, measured = float(decision.expected_c.mean()), float(mean_present(of(class_counts(confusion_kk))))
    if abs(expected - measured) < FAR:
        return ""
    return (
        f"The decision expects a mean {name} of {100 * expected:.1f} %, but {100 * measured:.1f} % were measured: the"
        " probabilities are not right, so it may choose worse classes than argmax. Choose to calibrate, or argmax."
    )
