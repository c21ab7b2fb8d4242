"""What a loaded model promises about new images, from its validation images: pixels left open, and class sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ensemble.combining.held_out import HeldOut
from ensemble.combining.promises import Evidence, gather_evidence
from ensemble.core.errors import EnsError
from ensemble.core.formatting import counted, in_percent
from ensemble.core.progress import Progress, no_progress
from ensemble.core.reading import guard
from ensemble.core.void import VOID
from ensemble.evaluation.caveats import ENOUGH_GROUPS
from ensemble.evaluation.promises import abstain, cover, fewest_groups
from ensemble.inference.predictor import Predictor
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.layout import EVIDENCE
from ensemble.runs.member import Member
from ensemble.runs.run_files import bundle_of
from ensemble.runs.status import read_status

SELECTED = "caution: an epoch of a member was chosen on the validation images, so the promise is a little too good"
MORE = "hold out more scenes (more data, or a larger val_fraction)"


def promise(
    predictor: Predictor,
    path: Path,
    *,
    max_error: float | None = None,
    coverage: float | None = None,
    progress: Progress = no_progress,
) -> tuple[Predictor, list[str]]:
    """Return the predictor that keeps the promises, and a sentence about each.

    Args:
        predictor: a member or an ensemble, ready to predict.
        path: its directory.
        max_error: share of the kept pixels that may be wrong; pixels whose decided class is less probable than the
            threshold that follows become ``Predictor.open_id``. See `ensemble.evaluation.promises.abstain`.
        coverage: share of the pixels of each class whose class set holds it; see `ensemble.evaluation.promises.cover`.
            A class without a promise is in every set.
        progress: callback that receives the progress.

    Raises:
        EnsError: a share that is not above 0 and below 1, another test-time augmentation than that of the validation
            images, too few groups of images, or no threshold that keeps the promise.
    """
    for name, share in (("max_error (--max-error)", max_error), ("coverage (--coverage)", coverage)):
        if share is not None and not 0 < share < 1:
            raise EnsError(f"expected a share above 0 and below 1 for {name}, got {share:g}; 0.05 is 5 %")
    if max_error is None and coverage is None:
        return predictor, []
    if predictor.tta is not None and any(member.settings.tta != predictor.tta for member in predictor.members):
        raise EnsError(
            f"a promise rests on the validation images, which {predictor.name} predicted with the test-time"
            f" augmentation that it was trained with, but {predictor.tta} was asked for; leave it out"
        )
    evidence = evidence_of(predictor, path, progress)
    notes = [SELECTED] if any(member.scores.get("selected") for member in predictor.members) else []
    if max_error is not None:
        predictor, note = abstaining(predictor, evidence, max_error)
        notes.append(note)
    if coverage is not None:
        predictor, more = with_sets(predictor, evidence, coverage)
        notes += more
    return predictor, notes


def evidence_of(predictor: Predictor, path: Path, progress: Progress = no_progress) -> Evidence:
    """Return what promises rest on: counts of validation pixels, from the stores of a run, or as a bundle keeps them.

    Raises:
        EnsError: stores are missing or damaged, or a bundle was made without them, or decides in another way than its
            run did.
    """
    if (bundle := bundle_of(path)) is not None:
        if predictor.asked:
            raise EnsError(
                f"the promises of {bundle.path} hold for the decision that it was made with; leave out the decision"
                " (--decide), or use the run that it was made of"
            )
        if EVIDENCE not in bundle.digests:
            raise EnsError(
                f"{bundle.path} was made without predictions of validation images, so it can promise nothing; leave out"
                " the promise (--max-error, --coverage)"
            )
        with guard(bundle.path, "a bundle", "make it again"):
            return Evidence.from_bytes(bundle.read(EVIDENCE))
    run = Ensemble.open(path) if read_status(path).get("kind") == "ensemble" else Member.open(path)
    held_out = HeldOut.of(run)
    return gather_evidence(held_out.deciding_as(predictor.pool) if predictor.asked else held_out, progress)


def thresholds(predictor: Predictor, share: float | None) -> dict[str, Any]:
    """Return the thresholds of a predictor that keeps promises, with the share of pixels left open if one was asked."""
    found: dict[str, Any] = {}
    if share is not None:
        found = {"threshold": predictor.least, "left_open": share, "open_id": predictor.open_id}
    if predictor.in_set_c is not None:
        found["set_thresholds"] = dict(zip(predictor.classes, predictor.in_set_c, strict=True))
    return found


def abstaining(predictor: Predictor, evidence: Evidence, error: float) -> tuple[Predictor, str]:
    """Return the predictor that leaves unsure pixels open, and a sentence about it; see `promise`."""
    found, goal = abstain(evidence.right, evidence.wrong, error), _share(error)
    if found.threshold is None and found.groups < ENOUGH_GROUPS:
        raise EnsError(
            f"cannot promise that at most {goal} of the kept pixels are wrong: this takes {ENOUGH_GROUPS} groups of"
            f" validation images, but there are {found.groups}; {MORE}"
        )
    if found.threshold is None:
        raise EnsError(
            f"cannot promise that at most {goal} of the kept pixels are wrong: too many are wrong in the"
            f" {found.groups} groups of validation images, however few are kept; allow a larger max_error (--max-error)"
        )
    what = f"pixels whose class is less probable than {found.threshold:.4f} become {predictor.open_id}"
    if VOID in predictor.values:
        what += f", because '{predictor.classes[predictor.values.index(VOID)]}' has the id {VOID}"
    note = (
        f"{what if found.threshold else 'no pixel has to be left open'}. Promised for groups of images"
        f" like the {found.groups} held out, on average: at most {goal} of the kept pixels are wrong. Of the validation"
        f" pixels {in_percent(found.kept)} are kept, and {in_percent(found.wrong)} of these are wrong"
    )
    return replace(predictor, least=found.threshold), note


def with_sets(predictor: Predictor, evidence: Evidence, coverage: float) -> tuple[Predictor, list[str]]:
    """Return the predictor that gives class sets, and sentences about them; see `promise`."""
    found_c = [cover(true, coverage) for true in evidence.true_c]
    named = list(zip(predictor.classes, found_c, strict=True))
    held = [name for name, one in named if one.threshold is not None]
    refused = [f"'{name}' ({counted(one.groups, 'group')})" for name, one in named if one.threshold is None]
    goal, needed = _share(coverage), fewest_groups(coverage)
    if not held:
        raise EnsError(
            f"cannot promise class sets that hold {goal} of any class: this takes {needed} groups of validation images"
            f" with the class, but the classes are in fewer: {', '.join(refused)}; {MORE}"
        )
    each = ", ".join(f"'{name}' from {one.threshold:.4f}" for name, one in named if one.threshold is not None)
    notes = [
        f"a class is in the set of a pixel from this probability on: {each}. Promised for groups of images like those"
        f" held out, on average: the set holds the true class at {goal} of the pixels of each of these classes. A"
        " set may be empty, or lack the class of the mask"
    ]
    if refused:
        notes.append(
            f"cannot promise {goal} for classes held by fewer than {needed} groups of validation images, so they are in"
            f" every set: {', '.join(refused)}"
        )
    return replace(predictor, in_set_c=tuple(one.threshold or 0.0 for one in found_c)), notes


def _share(share: float) -> str:
    return f"{100 * share:g} %"
