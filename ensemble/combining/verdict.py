"""Judge whether an ensemble is better than the average and than its best member, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.caveats import support_notes
from ensemble.evaluation.paired import RESAMPLES, Comparison, Draws

PAIRS = (("method", "average"), *((a, b) for b in ("best member", "member") for a in ("method", "average")))


@dataclass(frozen=True)
class Verdict:
    """Paired differences in mIoU with 95 % intervals, per class too, and one sentence of advice."""

    method: str
    best_member: str
    differences: Mapping[str, Comparison]
    per_class: Mapping[str, Mapping[str, Comparison]]
    notes: tuple[str, ...]
    advice: str

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
) -> Verdict:
    """Compare a method with the average and with single members on the same resamples of image groups.

    Two members stand for "the best member". One is picked on the other folds and scored on each fold, because picking a
    member is a choice whose honest score is cross-fitted. The other is the member that is best on these very images;
    its score is flattered by that choice, but it is the one that a user would take.

    Args:
        method: name of the method judged.
        best_member: name of the member that is best over all images, for the advice.
        systems: per-image confusion matrices (n, k, k) of ``method``, ``average``, ``best member`` (picked on the
            other folds) and ``member`` (the one called ``best_member``).
        groups: group of each image.
        classes: names of the classes.
        resamples: bootstrap resamples.
    """
    draws = Draws.of(groups, resamples=resamples)
    scores = {name: draws.iou(confusions_nkk) for name, confusions_nkk in systems.items()}
    differences: dict[str, Comparison] = {}
    per_class: dict[str, dict[str, Comparison]] = {}
    for first, second in PAIRS:
        overall, *each = scores[first].compare(scores[second])
        differences[f"{first} - {second}"] = overall
        per_class[f"{first} - {second}"] = dict(zip(classes, each, strict=True))
    notes = support_notes(systems["method"], groups, classes)
    return Verdict(method, best_member, differences, per_class, notes, _advice(method, best_member, differences))


def describe(difference: Comparison) -> str:
    """Return a difference in points of mIoU with its interval: ``+0.62 (-0.10 to +1.31)``."""
    return f"{100 * difference.difference:+.2f} ({100 * difference.low:+.2f} to {100 * difference.high:+.2f})"


def _advice(method: str, best: str, differences: Mapping[str, Comparison]) -> str:
    own, average = (
        (differences[f"{system} - best member"], differences[f"{system} - member"]) for system in ("method", "average")
    )
    if method == "average":
        return _against_members("the average", best, *average)
    gain = differences["method - average"]
    if gain.low > 0:
        return f"'{method}' beats the average by {describe(gain)} points. {_against_members(repr(method), best, *own)}"
    if gain.high < 0:
        first = f"'{method}' is worse than the average: {describe(gain)} points."
    elif gain.low == gain.high == 0:  # as with a temperature after pooling
        first = f"'{method}' scores as the average does on all resamples: choose by log-loss and calibration error."
    else:
        first = (
            f"Prefer the average to '{method}': the interval of their difference, {describe(gain)} points, covers zero,"
            " and the average has nothing to fit."
        )
    return f"{first} {_against_members('the average', best, *average)}"


def _against_members(what: str, best: str, picked: Comparison, named: Comparison) -> str:
    """Return the advice, from the differences to the member picked on other images and to the best on these images."""
    evidence = (
        f"{describe(picked)} points against the member picked on other images,"
        f" {describe(named)} against {best}, which looks best on these"
    )
    if picked.low > 0 and not named.high < 0:
        return f"Use {what}, not a single member: {evidence}."
    if picked.high < 0:
        return f"Use {best} alone, not {what}: {evidence}."
    return f"These images cannot tell {what} from the best member: {evidence}."
