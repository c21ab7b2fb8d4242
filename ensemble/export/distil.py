"""Distil: train one network on the probabilities of an ensemble, honestly, and judge it against the ensemble."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ensemble.core.progress import Progress, no_progress
from ensemble.export.distil_plan import DistilPlan, plan_distil
from ensemble.export.distil_targets import Curriculum
from ensemble.export.distil_verdict import StudentVerdict, judge_student
from ensemble.runs.layout import TARGETS
from ensemble.runs.member import Member
from ensemble.training.budget import check_batch_fits
from ensemble.training.train import train_member


@dataclass(frozen=True, eq=False)
class Distilled:
    """Result of `distil`: the student, a member like any other, and how good it is."""

    member: Member
    judged: StudentVerdict


def distil(
    ensemble: str | Path,
    *,
    unlabelled: str | None = None,
    data: str | Path | None = None,
    runs: str | Path = "runs",
    progress: Progress = no_progress,
    on_plan: Callable[[DistilPlan], None] | None = None,
    **settings: Any,
) -> Distilled:
    """Train one network, the student, on labels and on the pooled probabilities of an ensemble.

    Each training image is taught by networks that have seen neither it nor an image of the fold that the student is
    scored on; they are trained first, and kept for the next student of these members. So its score is as honest as that
    of any member. The same call resumes whatever was interrupted.

    Args:
        ensemble: ensemble by name, unique beginning of the name, or path.
        unlabelled: further images without labels: folders or files, and ``test`` for the test images of the data, with
            commas between them.
        data: new location of the data, if they moved.
        runs: folder for runs.
        progress: callback that receives the progress.
        on_plan: called with the plan before anything is trained.
        **settings: the fields of `ensemble.config.TeachingOptions`, such as ``label_share=0.5``, and those of
            `ensemble.train`, such as ``arch="unet(filters=16)"``. Data, split and the images that are left out are
            those of the ensemble.

    Raises:
        EnsError: it is no ensemble, a member cannot be trained again, or any mistake in the settings.
    """
    plan = plan_distil(ensemble, unlabelled=unlabelled, data=data, runs=runs, progress=progress, **settings)
    if on_plan:
        on_plan(plan)
    return distil_planned(plan, progress)


def distil_planned(found: DistilPlan, progress: Progress = no_progress) -> Distilled:
    """Train the teachers that are missing, then the student; judge it. See `distil`."""
    plan, missing = found.student, found.missing
    if plan.state == "new" and not plan.measured:
        check_batch_fits(plan, progress)
    for number, teacher in enumerate(missing, 1):
        teacher.teach(_numbered(progress, f"teacher {number} of {len(missing)}"))
    curriculum = Curriculum(plan, found.ensemble, found.members, found.folds, found.unlabelled.images, progress)
    started = time.perf_counter()
    member = train_member(replace(plan, teaching=curriculum, measured=True, started=started), progress)
    shutil.rmtree(plan.path / TARGETS, ignore_errors=True)
    return Distilled(member, judge_student(member, found.ensemble, [member for member, _ in found.members]))


def _numbered(progress: Progress, name: str) -> Progress:
    def report(task: str, done: int, total: int, note: str = "", /) -> None:
        progress(f"{name}: {task}", done, total, note)

    return report
