"""The verdict: is the ensemble better than the average, and than its best member, and how sure is that?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.bootstrap import Bootstrap, Comparison, compare
from ensemble.evaluation.confusion import iou_per_class, mean_iou, mean_present

FEW_IMAGES = 30
RESAMPLES = 10_000
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
        """Plain numbers and texts."""
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

    Two members stand for "the best member": picking one is a choice, so its honest score is cross-fitted (the best on
    the other folds is scored on each fold); and the member that is best on these very images, whose score is
    flattered by that choice but which a user would take.

    Args:
        method: name of the method judged.
        best_member: name of the member that is best over all images, for the sentence.
        systems: per-image confusion matrices (n, k, k) of ``method``, ``average``, ``best member`` (picked on the
            other folds) and ``member`` (the one called ``best_member``).
        groups: group of each image.
        classes: names of the classes.
        resamples: bootstrap resamples.
    """
    names = list(systems)
    stacked = np.stack([systems[name] for name in names], axis=1)
    bootstrap = Bootstrap.draw(groups, resamples=resamples)
    samples_bsk = bootstrap.iou(stacked)
    means_bs = mean_present(samples_bsk)
    totals = stacked.sum(0)
    miou_s, iou_sk = mean_iou(totals), iou_per_class(totals)
    differences: dict[str, Comparison] = {}
    per_class: dict[str, dict[str, Comparison]] = {}
    for first, second in PAIRS:
        a, b = names.index(first), names.index(second)
        title = f"{first} - {second}"
        differences[title] = compare(means_bs[:, a], means_bs[:, b], float(miou_s[a] - miou_s[b]))
        per_class[title] = {
            name: compare(samples_bsk[:, a, k], samples_bsk[:, b, k], float(iou_sk[a, k] - iou_sk[b, k]))
            for k, name in enumerate(classes)
        }
    notes = _notes(systems["method"], classes, len(set(groups)))
    return Verdict(method, best_member, differences, per_class, notes, _advice(method, best_member, differences))


def _notes(confusions_nkk: NDArray[np.int64], classes: Sequence[str], groups: int) -> tuple[str, ...]:
    """What the intervals rest on where that is little."""
    notes = [f"Only {groups} image groups: the intervals are too narrow."] if groups < 20 else []
    for k, name in enumerate(classes):
        pixels_n = np.sort(confusions_nkk[:, k].sum(1))[::-1]
        images = int((pixels_n > 0).sum())
        if 0 < images < FEW_IMAGES:
            top = min(5, images)
            share = pixels_n[:top].sum() / pixels_n.sum()
            notes.append(f"'{name}' is in {images} images only; {top} of them hold {share:.0%} of its pixels.")
        if not images:
            notes.append(f"'{name}' is in none of these images and has no score.")
    return tuple(notes)


def describe(difference: Comparison) -> str:
    """A difference in points of mIoU with its interval: ``+0.62 (-0.10 to +1.31)``."""
    return f"{100 * difference.difference:+.2f} ({100 * difference.low:+.2f} to {100 * difference.high:+.2f})"


def _advice(method: str, best: str, differences: Mapping[str, Comparison]) -> str:
    over_average = differences["method - average"]
    own, average = (
        (differences[f"{system} - best member"], differences[f"{system} - member"]) for system in ("method", "average")
    )
    if method == "average":
        return _against_members("the average", best, *average)
    if over_average.low > 0:
        return f"'{method}' beats the average by {describe(over_average)} points; " + _against_members(
            f"'{method}'", best, *own
        )
    if over_average.high < 0:
        return f"'{method}' is worse than the average by {describe(over_average)} points; " + _against_members(
            "the average", best, *average
        )
    return (
        f"the interval of '{method}' minus average, {describe(over_average)} points, covers zero: prefer the"
        f" average, which has nothing to fit, to '{method}'; {_against_members('the average', best, *average)}"
    )


def _against_members(what: str, best: str, picked: Comparison, named: Comparison) -> str:
    """The advice, from the differences to "pick the best member" (cross-fitted) and to the best on these images."""
    beside = f" (to {best}, the best on these very images and so flattered, {describe(named)})"
    if picked.low > 0 and not named.high < 0:
        return f"use {what}: it beats picking the best member by {describe(picked)} points{beside}."
    if picked.high < 0:
        return f"use {best} alone: {what} loses {describe(picked)} points to picking the best member{beside}."
    return (
        f"from picking the best member {what} differs by {describe(picked)} points{beside}:"
        " these images cannot tell them apart."
    )
