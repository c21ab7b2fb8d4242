"""Plan a study: check its data, plan every member, and find every mistake before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.data import open_dataset
from ensemble.plugins import loaded_plugins
from ensemble.report.check_data import check_data
from ensemble.runs.layout import studies_folder
from ensemble.study.jobs import Job
from ensemble.study.recipe import SUSPECTS, Entry, Recipe
from ensemble.training.cost import MeasureSettings
from ensemble.training.distributed.launcher import refuse_launcher
from ensemble.training.plan import Plan
from ensemble.training.reuse import find_same_weights, find_trained
from ensemble.training.train import plan_training

OF_DATA = ("data", *DataSettings.model_fields, "exclude", "exclude_from_score")  # they choose images and split


@dataclass(frozen=True)
class PlannedMember:
    """A member of a study before training: its job and its size.

    Attributes:
        entry: the entry of the recipe.
        job: what the executor receives.
        state: ``new``, ``interrupted`` or ``complete``.
        parameters: number of parameters of the network.
        images: images seen in training, over all epochs and folds; 0 if the weights exist; None if a budget decides.
        seconds: the time budget, or None.
        disk: estimated bytes of the finished member.
        measured: settings with which to measure a training step.
    """

    entry: Entry
    job: Job
    state: str
    parameters: int
    images: int | None
    seconds: float | None
    disk: int
    measured: MeasureSettings

    @property
    def is_complete(self) -> bool:
        """Whether the member is trained already."""
        return self.state == "complete"


def run_data_check(recipe: Recipe, runs: Path, progress: Progress = no_progress) -> Recipe:
    """Check the data if the recipe asks for it, and replace ``{check}`` in the recipe by the list of suspects.

    The same data are checked once, so that a repeated study leaves out the same images.
    """
    if not recipe.file.check:
        return recipe
    digest = open_dataset(DataSettings(source=recipe.file.data), progress).data_hash
    suspects = studies_folder(runs) / f"{recipe.file.name}-check-{digest[:6]}" / "suspects.csv"
    if not suspects.is_file():
        check_data(recipe.file.data, out=suspects.parent, runs=runs, progress=progress)

    def fill_in(entry: Entry) -> Entry:
        exclude = entry.arguments.get("exclude")
        if not isinstance(exclude, str):
            return entry
        return replace(entry, arguments={**entry.arguments, "exclude": exclude.replace(SUSPECTS, str(suspects))})

    return replace(recipe, entries=tuple(fill_in(entry) for entry in recipe.entries))


def plan_study(
    recipe: Recipe, runs: Path, threads: int | None = None, progress: Progress = no_progress
) -> list[PlannedMember]:
    """Plan every member, so that every mistake in the recipe is found before anything is trained.

    Raises:
        EnsError: a member cannot be trained, or two entries are the same member; the sentence has their labels.
    """
    refuse_launcher("ens study")
    planned, known = list[PlannedMember](), dict[str, Plan]()  # the last plan, by what it asks of the data
    for done, entry in enumerate(recipe.entries):
        progress("planning members", done, len(recipe.entries), entry.label)
        arguments = {"data": recipe.file.data, **entry.arguments, "out": str(runs)}
        try:
            asked_of_data = repr([(name, arguments.get(name)) for name in OF_DATA])
            plan = plan_training(arguments, threads=threads, known=known.get(asked_of_data))
        except EnsError as error:
            raise EnsError(f"member '{entry.label}' of the recipe '{recipe.file.name}': {error}") from None
        known = {asked_of_data: plan}
        trained = find_trained(plan)
        name = trained.name if trained else plan.path.name
        same = next((other.entry.label for other in planned if other.job.name == name), None)
        if same is not None:
            raise EnsError(
                f"'{entry.label}' and '{same}' of the recipe are the same member, {name}; remove one of them"
            )
        job = Job(entry.label, name, arguments, loaded_plugins())
        planned.append(_planned_member(entry, job, "complete" if trained else plan.state, plan))
    progress("planning members", len(recipe.entries), len(recipe.entries))
    trains = first_of_each([one.job for one in planned if not one.is_complete])
    return [one if one.is_complete or one.job in trains else replace(one, images=0, seconds=None) for one in planned]


def _planned_member(entry: Entry, job: Job, state: str, plan: Plan) -> PlannedMember:
    settings, facts = plan.settings, plan.facts
    images, has_weights = None, find_same_weights(plan) is not None
    if settings.epochs is not None:
        images = settings.epochs * sum(len(plan.training(fold).shown) for fold in range(len(plan.split.validation)))
    height, width = settings.window(facts)
    measured = MeasureSettings(
        name=settings.architecture.name,
        options=settings.architecture.options,
        bands=facts.bands,
        classes=facts.outputs,
        height=height,
        width=width,
        input_size=settings.input_size,
        input_scale=settings.input_scale,
        freeze=settings.freeze,
        optimiser=settings.optimiser.name,
        batch_size=settings.batch_size,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        plugins=job.plugins,
    )
    images, budget = (0, None) if has_weights else (images, settings.budget_seconds)
    return PlannedMember(entry, job, state, plan.parameters, images, budget, plan.disk_bytes, measured)


def first_of_each(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs whose members are trained; the others get weights of one of them, so they come afterwards.

    Members that differ only in test-time augmentation share their weights.
    """
    first = dict[str, Job]()
    for job in sorted(jobs, key=lambda job: job.arguments.get("tta", "none") != "none"):
        shared = {name: value for name, value in job.arguments.items() if name != "tta"}
        first.setdefault(repr(sorted(shared.items())), job)
    return [job for job in jobs if job in first.values()]
