"""Advise: use the best member, the average or the method, and state in sentences what is proven and what is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ensemble.evaluation.caveats import too_few_groups
from ensemble.evaluation.paired import Comparison

QUESTIONS = {  # pair of systems: the differences that must all lie on one side of zero
    ("method", "average"): ("method - average",),
    ("method", "member"): ("method - best member", "method - member"),
    ("average", "member"): ("average - best member", "average - member"),
}
AVERAGE = "the average"
ERROR = 0.05
"""Probability of any false statement in the advice."""


def questions(method: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the questions about a method; the average itself is not compared with itself."""
    return {pair: titles for pair, titles in QUESTIONS.items() if method != "average" or "method" not in pair}


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
        differences: by title, such as ``method - average``, all that `QUESTIONS` names; their intervals hold together.
        groups: number of groups of images.
        rival: what stands in the place of the average, see `ensemble.combining.verdict.judge`.
    """
    if reason := too_few_groups(groups):
        return Advice("", (), reason)
    answers = {pair: _answer([differences[title] for title in titles]) for pair, titles in questions(method).items()}
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
        each = [f"{names[a]} is better than {names[b]} by {shown.in_points}" for (a, b), shown in proven.items()]
        sentences.append(f"Proven, in points of mIoU (95 % sure of all together): {'; '.join(each)}.")
    undecided = {pair: shown for pair, (sign, shown) in answers.items() if not sign}
    if undecided:
        each = [f"{names[a]} against {names[b]} {shown.in_points}" for (a, b), shown in undecided.items()]
        sentences.append(f"Not proven, in points of mIoU: {'; '.join(each)}.")
    return Advice(use, tuple(proven), " ".join(sentences))


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
