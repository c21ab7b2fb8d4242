"""Judge a student: against its ensemble and the best member, and what share of the ensemble's gain it keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned, shared_classes
from ensemble.combining.by_fold import best_elsewhere, best_member_elsewhere
from ensemble.combining.cheaper import Share, share_of
from ensemble.combining.verdict import Verdict, judge_against_members
from ensemble.core.errors import EnsError
from ensemble.evaluation.caveats import too_few_groups
from ensemble.evaluation.intervals import interval
from ensemble.evaluation.paired import Draws, PairedDifference, SampledScores
from ensemble.evaluation.tally import Tally
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member
from ensemble.runs.tables import ImageTables, read_tables

RIVAL = "its ensemble"
NO_INTERVAL = float("nan")

UNKNOWN = 3.0  # width of the interval of a share from which it says nothing


@dataclass(frozen=True)
class KeptGain:
    """What an ensemble gains over its members in one score, and what its student keeps of that.

    Attributes:
        score: ``log-loss`` (per pixel) or ``mIoU``.
        over: ``average member`` (the mean of the members' scores) or ``best member`` (the best on the other folds).
        base: score of these.
        ensemble: score of the ensemble.
        student: score of the student.
        kept: share of the gain that the student keeps, with its 95 % interval over groups of images.
        proven: whether the ensemble's gain is proven; without that nothing is claimed about a share of it.
    """

    score: str
    over: str
    base: float
    ensemble: float
    student: float
    kept: Share
    proven: bool

    @property
    def claim(self) -> str:
        """The share with its interval, or why there is no claim."""
        if self.kept.known and self.kept.high - self.kept.low > UNKNOWN:
            return "no claim: the interval holds nearly everything"
        if self.kept.known:
            return str(self.kept)
        return "no claim: too few groups" if self.proven else "no claim: the gain is not proven"


@dataclass(frozen=True)
class StudentVerdict:
    """How good a student is.

    Attributes:
        verdict: paired differences to the ensemble, in the place of the average, and to the best member.
        gains: shares of the ensemble's gain.
    """

    verdict: Verdict
    gains: tuple[KeptGain, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers and texts."""
        return {"verdict": self.verdict.to_json(), "gains": [asdict(gain) for gain in self.gains]}


def judge_student(student: Member, ensemble: Ensemble, members: Sequence[Member]) -> StudentVerdict:
    """Compare a student with its ensemble and the best of the members, image by image of the scored ones.

    Args:
        student: a finished student.
        ensemble: the ensemble that taught it.
        members: the members that the ensemble uses.

    Raises:
        EnsError: an old run without per-image tables, or runs of other images.
    """
    pooled = read_tables(ensemble.path)
    classes, channels = shared_classes(members, ensemble.classes)
    ours = _known(read_tables(student.path).of(pooled.ids))
    theirs = [_tables(*each, classes, pooled) for each in zip(members, channels, strict=True)]
    confusions_mnkk = np.stack([each.confusions_nkk for each in theirs])
    fold_n = pooled.tables["fold"] if "fold" in pooled.tables else np.arange(len(pooled.ids)) % 2
    verdict = judge_against_members(
        student.name,
        [member.name for member in members],
        ours.confusions_nkk,
        pooled.confusions_nkk,
        confusions_mnkk,
        fold_n,
        pooled.groups,
        pooled.classes,
        rival=RIVAL,
    )
    systems = {
        "method": ours.confusions_nkk,
        "average": pooled.confusions_nkk,
        "best member": best_member_elsewhere(confusions_mnkk, fold_n),
    }
    losses_mn = np.stack([each.tables["log_loss"] for each in theirs])
    lost_n = {"ensemble": pooled.tables["log_loss"], "student": ours.tables["log_loss"]}
    gains = (*log_loss_gains(losses_mn, lost_n, systems["average"], fold_n, pooled.groups),)
    return StudentVerdict(verdict, (*gains, *miou_gains(confusions_mnkk, systems, pooled.groups)))


def _tables(member: Member, channels: tuple[int, ...], classes: tuple[str, ...], pooled: ImageTables) -> ImageTables:
    """Return what a member got on the images and the classes of its ensemble."""
    run = read_tables(member.path)
    if run.classes == classes:
        return _known(run.of(pooled.ids))
    aligned, tally = Aligned((member.name,), (member.store(),), classes, (channels,)), Tally(len(classes), shapes=False)
    for batch in aligned.batches():
        tally.add(batch.cut(batch.probs_mnchw)[0], batch.labels_nhw, strip=batch.strip)
    return ImageTables(classes, pooled.values, aligned.ids, aligned.groups, tally.arrays()).of(pooled.ids)


def _known(run: ImageTables) -> ImageTables:
    if "log_loss" not in run.tables:
        raise EnsError("a run of an older version lacks the log-loss of each image; train or combine it again")
    return run


def log_loss_gains(
    members_mn: NDArray[np.float64],
    lost_n: Mapping[str, NDArray[np.float64]],
    confusions_nkk: NDArray[np.int64],
    fold_n: NDArray[np.int64],
    groups: Sequence[str],
) -> list[KeptGain]:
    """Return the shares of the gain in log-loss.

    Args:
        members_mn: log-loss of each member on each image, summed over its pixels.
        lost_n: the same of ``ensemble`` and ``student``.
        confusions_nkk: confusion matrices of any of them, for the number of labelled pixels.
        fold_n: fold of each image; the best member is chosen on the others.
        groups: group of each image.
    """
    pixels = float(confusions_nkk.sum())
    chosen_n = best_elsewhere(members_mn, fold_n, lambda lost: -lost.sum(1))
    bases = {
        "average member": members_mn.mean(0),
        "best member": members_mn[chosen_n, np.arange(members_mn.shape[1])],
    }
    found: list[KeptGain] = []
    for over, base_n in bases.items():
        gain_n, kept_n = base_n - lost_n["ensemble"], base_n - lost_n["student"]
        gain = share_of(gain_n, np.ones(len(gain_n)), groups)
        proven = gain.known and gain.low > 0
        kept = share_of(kept_n, gain_n, groups)
        shown = kept if proven else Share(kept.share, NO_INTERVAL, NO_INTERVAL)
        base, ensemble, student = (
            float(each.sum()) / pixels for each in (base_n, lost_n["ensemble"], lost_n["student"])
        )
        found.append(KeptGain("log-loss", over, base, ensemble, student, shown, proven))
    return found


def miou_gains(
    members_mnkk: NDArray[np.int64], systems: Mapping[str, NDArray[np.int64]], groups: Sequence[str]
) -> list[KeptGain]:
    """Return the shares of the gain in mIoU.

    Args:
        members_mnkk: confusion matrices of each member.
        systems: those of ``method`` (the student), ``average`` (the ensemble) and ``best member``.
        groups: group of each image.
    """
    draws = Draws.of(groups)
    student, ensemble, best = (draws.iou(systems[name]).column(0) for name in ("method", "average", "best member"))
    each = [draws.iou(confusions_nkk).column(0) for confusions_nkk in members_mnkk]

    def mean(score: Callable[[SampledScores], NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.mean([score(one) for one in each], axis=0)

    average = SampledScores(
        mean(lambda one: one.whole_c), mean(lambda one: one.samples_bc), mean(lambda one: one.left_out_gc), (None,)
    )
    found: list[KeptGain] = []
    for over, base in (("average member", average), ("best member", best)):
        gain, kept = ensemble.minus(base), student.minus(base)
        proven = gain.interval(0.95).low > 0
        share = _share_of(kept, gain, claimed=proven and not too_few_groups(len(set(groups))))
        values = (float(base.whole_c[0]), float(ensemble.whole_c[0]), float(student.whole_c[0]))
        found.append(KeptGain("mIoU", over, values[0], values[1], values[2], share, proven))
    return found


def _share_of(kept: PairedDifference, gain: PairedDifference, *, claimed: bool) -> Share:
    """Return the ratio of two differences, with its interval over the same resamples of groups if it is claimed."""
    ratio = kept.estimate / gain.estimate if gain.estimate else NO_INTERVAL
    if not claimed:
        return Share(ratio, NO_INTERVAL, NO_INTERVAL)
    with np.errstate(divide="ignore", invalid="ignore"):
        samples_b, left_out_g = kept.samples_b / gain.samples_b, kept.left_out_g / gain.left_out_g
    samples_b = np.where(np.isfinite(samples_b), samples_b, np.nan)
    found = interval(samples_b, left_out_g=left_out_g)
    return Share(ratio, found.low, found.high)
