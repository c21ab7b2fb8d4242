"""Decide which system to use, the best member, the average or the method, and list what is proven about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.by_fold import best_elsewhere
from ensemble.combining.decision import Decision
from ensemble.core.formatting import counted
from ensemble.evaluation.caveats import RARE, support_notes, too_few_groups
from ensemble.evaluation.confusion import class_counts, dice_of, iou_of, mean_iou, mean_present
from ensemble.evaluation.paired import RESAMPLES, Comparison, Draws, SampledScores

PAIRS = (("method", "average"), *((a, b) for b in ("best member", "member") for a in ("method", "average")))
QUESTIONS = {  # pair of systems: the differences that must all lie on one side of zero
    ("method", "average"): ("method - average",),
    ("method", "member"): ("method - best member", "method - member"),
    ("average", "member"): ("average - best member", "average - member"),
}
AVERAGE = "the average"
NOTICED = 0.01  # difference in mIoU, one point, from which it is said that one group decides it
FAR = 0.1  # difference between expected and measured mean IoU from which a decision is not to be trusted
ERROR = 0.05
"""Probability of any false statement in the advice."""


@dataclass(frozen=True)
class Verdict:
    """Paired differences in mIoU and per class, each with an interval of ``level``, and the advice that follows.

    Attributes:
        method: name of the method.
        best_member: name of the member that looks best on these images.
        groups: number of independent groups of images.
        level: probability of each interval. With it, the intervals of all questions hold together with 95 %.
        differences: by title, such as ``method - average``.
        per_class: the same for the IoU of each class.
        notes: what makes the differences less trustworthy.
        use: ``member``, ``average`` or ``method``; empty if there are too few groups for advice.
        proven: pairs of these three, of which the first is better.
        advice: the decision, what is proven and what is not, in sentences.
        rival: what ``average`` stands for: the average, or the full ensemble that a cheaper one is judged against.
    """

    method: str
    best_member: str
    groups: int
    level: float
    differences: Mapping[str, Comparison]
    per_class: Mapping[str, Mapping[str, Comparison]]
    notes: tuple[str, ...]
    use: str
    proven: tuple[tuple[str, str], ...]
    advice: str
    rival: str = AVERAGE

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers and texts."""
        return asdict(self)


def judge(
    method: str,
    best_member: str,
    systems: Mapping[str, NDArray[np.int64]],
    groups: Sequence[str],
    classes: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    rival: str = AVERAGE,
) -> Verdict:
    """Decide between the best member, the average and a method, with 5 % for any false statement in the advice.

    There are three questions: is one of method and average better than the other, and is each of them better or worse
    than the best member? All intervals have the level 1 - 0.05 / 3 (Bonferroni), so that they hold together with 95 %.
    For the average itself there is one question.

    Two members stand for "the best member", and a statement about it must hold against both. One is picked on the other
    folds and scored on each fold, because picking a member is a choice whose honest score is cross-fitted. The other is
    the member that is best on these very images; its score is flattered by that choice, but it is the one that a user
    would take. Asking for both makes a false statement less likely, so this costs no correction.

    The decision starts with the simplest system and moves on only to what is proven better: from the best member to the
    average, then to the method, and back to the average if that is proven better than the method.

    Args:
        method: name of the method judged.
        best_member: name of the member that is best over all images, for the advice.
        systems: per-image confusion matrices (n, k, k) of ``method``, ``average``, ``best member`` (picked on the
            other folds) and ``member`` (the one called ``best_member``).
        groups: group of each image.
        classes: names of the classes.
        resamples: bootstrap resamples.
        rival: what stands in the place of the average, if not the average itself. It is compared, but not advised: a
            full ensemble is no choice for who needs a cheaper one.

    Reference:
        Berger, Multiparameter Hypothesis Testing and Acceptance Sampling, 1982 (both members at no correction);
        measured: ``experiments/benchmarks/advice_rates.py``.
    """
    draws, count = Draws.of(groups, resamples=resamples), len(set(groups))
    level = 1 - ERROR / len(_questions(method))
    scores = {name: draws.iou(confusions_nkk) for name, confusions_nkk in systems.items()}
    differences: dict[str, Comparison] = {}
    per_class: dict[str, dict[str, Comparison]] = {}
    for first, second in PAIRS:
        overall, *each = scores[first].compare(scores[second], level=level)
        differences[f"{first} - {second}"] = overall
        per_class[f"{first} - {second}"] = dict(zip(classes, each, strict=True))
    notes = (
        *support_notes(systems["method"], groups, classes),
        *_one_group_notes(method, best_member, scores, draws, rival),
    )
    found = advise(method, best_member, differences, count, rival)
    decision = (found.use, found.proven, found.text)
    return Verdict(method, best_member, count, level, differences, per_class, notes, *decision, rival)


def judge_against_members(
    method: str,
    names: Sequence[str],
    method_nkk: NDArray[np.int64],
    average_nkk: NDArray[np.int64],
    members_mnkk: NDArray[np.int64],
    fold_n: NDArray[np.int64],
    groups: Sequence[str],
    classes: Sequence[str],
    *,
    rival: str = AVERAGE,
) -> Verdict:
    """Judge as `judge` does; the best member, on the other folds and on these images, is picked from all members.

    Args:
        method: name of the method judged.
        names: names of the members.
        method_nkk: per-image confusion matrices of the method.
        average_nkk: those of the average, or of its rival.
        members_mnkk: those of each member.
        fold_n: fold of each image.
        groups: group of each image.
        classes: names of the classes.
        rival: see `judge`.
    """
    best = int(np.nanargmax(mean_iou(members_mnkk.sum(1))))
    best_n = best_elsewhere(members_mnkk, fold_n, lambda confusions: mean_iou(confusions.sum(1)))
    systems = {
        "method": method_nkk,
        "average": average_nkk,
        "best member": members_mnkk[best_n, np.arange(len(best_n))],
        "member": members_mnkk[best],
    }
    return judge(method, names[best], systems, groups, classes, rival=rival)


def describe(difference: Comparison) -> str:
    """Return a difference in points of IoU with its interval: ``+0.62 (-0.10 to +1.31)``; see `RARE` for a ``~``."""
    value = f"{RARE if difference.few_groups else ''}{100 * difference.difference:+.2f}"
    if np.isnan(difference.low):
        return f"{value} (no interval)"
    return f"{value} ({100 * difference.low:+.2f} to {100 * difference.high:+.2f})"


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
    return f"{note} Difference in the F1 of its objects, in points: {describe(difference)}."


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


def _one_group_notes(
    method: str, best_member: str, scores: Mapping[str, SampledScores], draws: Draws, rival: str
) -> tuple[str, ...]:
    """Return a note on each difference of a point or more of which more than half is gone without one group."""
    titles = {"method": f"'{method}'", "average": rival, "member": f"the best member ({best_member})"}
    notes: list[str] = []
    for first, second in _questions(method):
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


@dataclass(frozen=True)
class Advice:
    """The decision, the pairs of systems of which the first is proven better, and both in sentences."""

    use: str
    proven: tuple[tuple[str, str], ...]
    text: str


def advise(method: str, best: str, differences: Mapping[str, Comparison], groups: int, rival: str = AVERAGE) -> Advice:
    """Return the advice that follows from the differences.

    Args:
        method: name of the method.
        best: name of the best member.
        differences: by title, for all of `PAIRS`; their intervals hold together.
        groups: number of groups of images.
        rival: see `judge`.
    """
    if reason := too_few_groups(groups):
        return Advice("", (), reason)
    answers = {pair: _answer([differences[title] for title in titles]) for pair, titles in _questions(method).items()}
    proven = {(a, b) if sign > 0 else (b, a): shown for (a, b), (sign, shown) in answers.items() if sign}
    use = "member"
    for better in ("average", "method", "average") if rival == AVERAGE else ("method",):
        use = better if (better, use) in proven else use
    names = {"method": repr(method), "average": rival, "member": f"the best member ({best})"}
    sentences = [f"Use {names[use]}."]
    if use == "member":
        rivals = "the average is not" if method == "average" else f"neither {method!r} nor the average is"
        rivals = rivals if rival == AVERAGE else f"{method!r} is not"
        sentences = [f"Use the best member alone ({best}): {rivals} proven better than it."]
        names["member"] = "the best member"
    if _same(differences["method - average"]) and method != "average":
        sentences.append(f"{names['method']} scores exactly as {rival} does: compare their log-loss and ECE.")
        del answers["method", "average"]
    if proven:
        each = [f"{names[a]} is better than {names[b]} by {describe(shown)}" for (a, b), shown in proven.items()]
        sentences.append(f"Proven, in points of mIoU (95 % sure of all together): {'; '.join(each)}.")
    undecided = {pair: shown for pair, (sign, shown) in answers.items() if not sign}
    if undecided:
        each = [f"{names[a]} against {names[b]} {describe(shown)}" for (a, b), shown in undecided.items()]
        sentences.append(f"Not proven, in points of mIoU: {'; '.join(each)}.")
    return Advice(use, tuple(proven), " ".join(sentences))


def _questions(method: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the questions about a method; the average itself is not compared with itself."""
    return {pair: titles for pair, titles in QUESTIONS.items() if method != "average" or "method" not in pair}


def _answer(found: Sequence[Comparison]) -> tuple[int, Comparison]:
    """Return 1 or -1 if all differences lie above or below zero, else 0, and the difference to show.

    It is the most cautious one, turned to be positive. Without an answer it is the one to the member that a user would
    take.
    """
    if all(difference.low > 0 for difference in found):
        return 1, min(found, key=lambda difference: difference.low)
    if all(difference.high < 0 for difference in found):
        least = max(found, key=lambda difference: difference.high)
        turned = Comparison(-least.difference, -least.high, -least.low, 1 - least.probability_of_improvement)
        return -1, turned
    return 0, found[-1]


def _same(difference: Comparison) -> bool:
    """Return whether two systems have one score in all resamples, as with a temperature after pooling."""
    return difference.difference == difference.low == difference.high == 0
