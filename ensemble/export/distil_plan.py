"""Plan a student with its teachers and its data, so that every mistake is found before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ensemble.config import Teaching, TeachingOptions, TrainSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import check_disk, check_folder, digest, json_text
from ensemble.core.progress import Progress, no_progress
from ensemble.data.augmentation.tracing import check_traceable
from ensemble.data.windows import frame_for
from ensemble.export.distil_teachers import Part, Teacher, parts_of_folds, teachers_of
from ensemble.export.distil_unlabelled import Unlabelled, open_sources, open_unlabelled
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.folder import find_run
from ensemble.runs.layout import members_folder
from ensemble.runs.member import Member
from ensemble.runs.status import read_config, read_status
from ensemble.training.plan import STORE_BYTES_PER_VALUE, Plan, check_settings, plan_member
from ensemble.training.plan_again import check_sources, plan_of

OWN = ("data", "background", "val_fraction", "folds", "split", "split_seed", "exclude", "exclude_from_score")
"""Settings of training that a student takes from the members that teach it."""


@dataclass(frozen=True, eq=False)
class DistilPlan:
    """A student that can be trained, and what has to be trained before it.

    Attributes:
        student: plan of the student.
        ensemble: the ensemble that teaches it.
        members: the members that the ensemble uses, with the plans that they were trained by.
        folds: for each fold of the student, the parts of its training images.
        teachers: every network that predicts training images.
        unlabelled: images without labels.
    """

    student: Plan
    ensemble: Ensemble
    members: tuple[tuple[Member, Plan], ...]
    folds: tuple[tuple[Part, ...], ...]
    teachers: tuple[Teacher, ...]
    unlabelled: Unlabelled

    @property
    def missing(self) -> list[Teacher]:
        """Teachers that are still to be trained; none for a finished student."""
        return [] if self.student.state == "complete" else [each for each in self.teachers if not each.is_finished]

    def seconds(self, missing: list[Teacher]) -> float:
        """Return about how long training these teachers takes: as long as the networks of their members took."""
        return sum(_seconds(each.member) for each in missing)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the images without labels."""
        seen = "the test images are among the unlabelled ones: a score on them is no score on new images"
        return (*self.unlabelled.notes, *([seen] if self.unlabelled.saw_test else []))


def _seconds(member: Member) -> float:
    status = member.status
    return float(status.get("training_seconds", status.get("seconds", 0.0))) / (member.settings.data.folds or 1)


def plan_distil(
    ensemble: str | Path,
    *,
    unlabelled: str | None = None,
    data: str | Path | None = None,
    runs: str | Path = "runs",
    progress: Progress = no_progress,
    **settings: Any,
) -> DistilPlan:
    """Resolve and check everything that `distil` does; write nothing. See there."""
    if own := [name for name in OWN if name in settings]:
        raise EnsError(f"a student takes {own[0]} from the members of the ensemble; leave it out")
    taught = {name: settings.pop(name) for name in TeachingOptions.model_fields if name in settings}
    options, asked = TeachingOptions(**taught), TrainSettings(**settings)
    check_settings(asked)  # like the other mistakes that show without the data: before these are read
    sources, (opened, used) = open_sources(unlabelled), _open(ensemble, runs)
    members = _with_plans(used, data, progress)
    known = _with_classes_of(opened, members, data, progress)
    plan = plan_member(asked.model_copy(update={"data": known.settings.data.source}), Path(runs), progress, known)
    _check_student(plan)
    folds = tuple(tuple(parts) for parts in parts_of_folds(plan, options.inner_folds))
    teachers = tuple(teachers_of(members, folds))
    _check_teachers(teachers)
    images = open_unlabelled(sources, plan.dataset, plan.settings.crop, progress)
    teaching = Teaching(
        ensemble=opened.name,
        teachers=digest(json_text(opened.pool), *(member.fingerprint for member in used)),
        unlabelled=images.sources,
        images=images.digest,
        saw_test=images.saw_test,
        **options.model_dump(),
    )
    student = plan.settings.model_copy(update={"taught": teaching})
    path = members_folder(Path(runs)) / student.directory_name(plan.facts.data_hash + plan.facts.split_hash)
    found = DistilPlan(replace(plan, settings=student, path=path), opened, members, folds, teachers, images)
    _check_room(found, Path(runs))
    return found


def _open(model: str | Path, runs: str | Path) -> tuple[Ensemble, list[Member]]:
    """Open an ensemble and the members that it uses; refuse members that cannot be trained again."""
    if Path(model).is_file():
        raise EnsError(
            f"expected an ensemble that was combined here, got the file {model}; a bundle holds no predictions of"
            " training images, and its members cannot be trained again"
        )
    path = find_run(model, runs)
    if read_status(path).get("kind") != "ensemble":
        raise EnsError(
            f"expected an ensemble to learn from, got {path.name}; combine members first, and name the result"
        )
    ensemble = Ensemble.open(path)
    config = read_config(path, read_status(path))
    if "refit_of" in config:
        raise EnsError(f"{path.name} is a refit, which has seen all images; give its twin {config['refit_of']}")
    used = set(config.get("used", ensemble.settings.members))
    members = [member for member in ensemble.members() if member.name in used]
    for member in members:
        check_sources(member)
    return ensemble, members


def _with_plans(members: list[Member], data: str | Path | None, progress: Progress) -> tuple[tuple[Member, Plan], ...]:
    """Return members with the plans that they were trained by, whose data are open."""
    plans = list[Plan]()
    for member in members:
        plans.append(plan_of(member, data, progress, plans))
    return tuple(zip(members, plans, strict=True))


def _with_classes_of(
    ensemble: Ensemble, members: Sequence[tuple[Member, Plan]], data: str | Path | None, progress: Progress
) -> Plan:
    """Return the plan of a member with the classes of the ensemble; a member without a weight may be the only one."""
    plans = [plan for _, plan in members]
    found = next((plan for plan in plans if plan.facts.classes == ensemble.classes), None)
    if found is not None:
        return found
    like = next(member for member in ensemble.members() if member.facts.classes == ensemble.classes)
    return plan_of(like, data, progress, plans)


def _check_student(plan: Plan) -> None:
    """Refuse settings that a student cannot have."""
    settings = plan.settings
    if settings.processes > 1:
        raise EnsError("expected one process for a student, got several; start the command without torchrun")
    if settings.input_size is not None and frame_for(plan.dataset, settings.input_size) is not None:
        raise EnsError(
            f"the images of {plan.dataset.name} have several sizes, so a student is trained on windows of them; give"
            " crop or input_scale in place of input_size"
        )
    check_traceable(settings.augmentation, plan.training(0))


def _check_teachers(teachers: Sequence[Teacher]) -> None:
    """Refuse teachers that would lack a class."""
    for teacher in teachers:
        if not teacher.is_finished:
            teacher.training_plan()


def _check_room(found: DistilPlan, runs: Path) -> None:
    """Refuse folders and disks without room."""
    plan, classes = found.student, len(found.student.facts.classes)
    if plan.state == "complete":
        return
    check_folder(plan.path)
    stored = 0.0
    for teacher in found.missing:
        check_folder(teacher.folder)
        rows = [row for part in teacher.held_out.predicted for row in part.tolist()]
        stored += STORE_BYTES_PER_VALUE * classes * sum(math.prod(plan.dataset.sizes[row]) for row in rows)
        stored += 4 * teacher.plan.parameters
    sizes = [*plan.dataset.sizes, *found.unlabelled.images.sizes]
    targets = classes * sum(map(math.prod, sizes))
    check_disk(runs, stored + targets + plan.disk_bytes, "this student and its teachers")
