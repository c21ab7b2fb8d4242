"""Judge a method: paired differences to the average and to the best member, notes, and the advice that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.advice import AVERAGE, ERROR, advise, questions
from ensemble.combining.by_fold import best_member_elsewhere
from ensemble.combining.verdict_notes import one_group_notes
from ensemble.evaluation.caveats import support_notes
from ensemble.evaluation.confusion import mean_iou
from ensemble.evaluation.paired import RESAMPLES, Comparison, Draws

PAIRS = (("method", "average"), *((a, b) for b in ("best member", "member") for a in ("method", "average")))


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
    level = 1 - ERROR / len(questions(method))
    scores = {name: draws.iou(confusions_nkk) for name, confusions_nkk in systems.items()}
    differences: dict[str, Comparison] = {}
    per_class: dict[str, dict[str, Comparison]] = {}
    for first, second in PAIRS:
        overall, *each = scores[first].compare(scores[second], level=level)
        differences[f"{first} - {second}"] = overall
        per_class[f"{first} - {second}"] = dict(zip(classes, each, strict=True))
    notes = (
        *support_notes(systems["method"], groups, classes),
        *one_group_notes(method, best_member, scores, draws, rival),
    )
    found = advise(method, best_member, differences, count, rival)
    return Verdict(
        method=method,
        best_member=best_member,
        groups=count,
        level=level,
        differences=differences,
        per_class=per_class,
        notes=notes,
        use=found.use,
        proven=found.proven,
        advice=found.text,
        rival=rival,
    )


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
    systems = {
        "method": method_nkk,
        "average": average_nkk,
        "best member": best_member_elsewhere(members_mnkk, fold_n),
        "member": members_mnkk[best],
    }
    return judge(method, names[best], systems, groups, classes, rival=rival)
