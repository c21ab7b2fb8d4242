"""Run a study: plan all members, train the missing ones, combine them, and write one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ensemble import results
from ensemble.combining.combine import combine
from ensemble.combining.ensemble_settings import find_ensemble
from ensemble.config import OF_ONE_TRAINING, DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.core.progress import Progress, no_progress
from ensemble.data import open_dataset
from ensemble.plugins import loaded_plugins
from ensemble.report.check_data import check_data
from ensemble.results.export import csv_text
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.layout import studies_folder
from ensemble.runs.looks import with_looks
from ensemble.runs.select import open_members
from ensemble.study.jobs import Executor, Job, OnEvent, Outcome, State
from ensemble.study.local import LocalExecutor
from ensemble.study.recipe import SUSPECTS, EnsembleEntry, Entry, Recipe
from ensemble.training.cost import MeasureSettings
from ensemble.training.distributed.launcher import refuse_launcher
from ensemble.training.plan import Plan
from ensemble.training.reuse import find_same_weights, find_trained
from ensemble.training.schedule import cycle_ends
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


@dataclass(frozen=True)
class StudyResult:
    """The result of a study.

    Attributes:
        recipe: the recipe.
        members: how every member ended, in the order of the recipe.
        ensembles: how every ensemble ended.
        verdicts: the advice on every ensemble, by its label.
        table: a row per member and ensemble: ``label``, ``group``, the columns of the results, and ``error``.
        path: the CSV file of the table.
    """

    recipe: Recipe
    members: tuple[Outcome, ...]
    ensembles: tuple[Outcome, ...]
    verdicts: Mapping[str, str]
    table: pd.DataFrame
    path: Path

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Members and ensembles that failed."""
        return tuple(outcome for outcome in (*self.members, *self.ensembles) if outcome.state == "failed")


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
    trains = _first_of_each([one.job for one in planned if not one.is_complete])
    return [one if one.is_complete or one.job in trains else replace(one, images=0, seconds=None) for one in planned]


def _planned_member(entry: Entry, job: Job, state: str, plan: Plan) -> PlannedMember:
    settings, facts = plan.settings, plan.facts
    images, has_weights = None, find_same_weights(plan) is not None
    if settings.epochs is not None:
        epochs = cycle_ends(settings.epochs, settings.cycles)[settings.last_cycle - 1]
        images = epochs * sum(len(plan.training(fold).shown) for fold in range(len(plan.split.validation)))
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
        batch_size=settings.batch_size,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        plugins=job.plugins,
    )
    images, budget = (0, None) if has_weights else (images, settings.budget_seconds)
    return PlannedMember(entry, job, state, plan.parameters, images, budget, plan.disk_bytes, measured)


def run_study(
    recipe: Recipe,
    runs: str | Path = "runs",
    *,
    executor: Executor | None = None,
    threads: int | None = None,
    progress: Progress = no_progress,
    on_event: OnEvent | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> StudyResult:
    """Train the missing members, make the ensembles, and write the table of the study.

    A member that fails or crashes is an outcome with its error, and the other members continue. The same call resumes
    the study.

    Args:
        recipe: from `read_recipe`.
        runs: folder for members, ensembles and ``studies/<name>.csv``.
        executor: trains the members; the default trains them one after the other on this machine.
        threads: threads of every member; the default is torch's number of threads.
        progress: callback that receives the progress of planning and combining.
        on_event: callback that receives the progress of members.
        on_outcome: callback that receives the outcome of every member.

    Raises:
        EnsError: a mistake in the recipe; nothing was trained then.
        KeyboardInterrupt: after every process has saved its state.
    """
    root = Path(runs)
    recipe = run_data_check(recipe, root, progress)
    planned = plan_study(recipe, root, threads, progress)
    on_outcome, on_event = on_outcome or (lambda _: None), on_event or (lambda *_: None)
    outcomes = {one.entry.label: Outcome(one.entry.label, one.job.name, "found") for one in planned if one.is_complete}
    for outcome in outcomes.values():
        on_outcome(outcome)
    jobs = [one.job for one in planned if not one.is_complete]
    executor, trains = executor or LocalExecutor(1, threads), _first_of_each(jobs)
    for turn in filter(None, (trains, [job for job in jobs if job not in trains])):
        outcomes |= {outcome.label: outcome for outcome in executor.run(turn, on_event, on_outcome)}
    members = tuple(outcomes[one.entry.label] for one in planned)
    ensembles, verdicts = _combine(recipe, outcomes, root, progress)
    table = _table(recipe, members, ensembles, root)
    path = studies_folder(root) / f"{recipe.file.name}.csv"
    write_bytes(path, csv_text(table).encode())
    return StudyResult(recipe, members, tuple(ensembles), verdicts, table, path)


def _first_of_each(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs whose members are trained; the others get weights of one of them, so they come afterwards.

    Members that differ only in test-time augmentation share their weights, and those of the last cycle are trained with
    those of the earlier ones.
    """
    first = dict[str, Job]()
    for job in sorted(jobs, key=_later_first):
        shared = {name: value for name, value in job.arguments.items() if name not in OF_ONE_TRAINING}
        first.setdefault(repr(sorted(shared.items())), job)
    return [job for job in jobs if job in first.values()]


def _later_first(job: Job) -> tuple[int, bool]:
    return -int(job.arguments.get("snapshot") or 0), job.arguments.get("tta", "none") != "none"


def _combine(
    recipe: Recipe, members: Mapping[str, Outcome], runs: Path, progress: Progress
) -> tuple[list[Outcome], dict[str, str]]:
    """Make every ensemble of the recipe; return the outcomes, and the advice on each ensemble by its label."""
    outcomes, verdicts = list[Outcome](), dict[str, str]()
    for entry in recipe.file.ensembles:
        of = [members[member.label] for member in recipe.members_of(entry)]
        label = entry.title(len(of))
        missing = [member.label for member in of if member.state not in ("found", "trained")]
        if missing:
            outcomes.append(Outcome(label, "", "failed", error=f"not made because {', '.join(missing)} did not finish"))
            continue
        try:
            state, ensemble = _find_or_combine(entry, [member.name for member in of], runs, progress)
        except EnsError as error:
            outcomes.append(Outcome(label, "", "failed", error=str(error)))
            continue
        outcomes.append(Outcome(label, ensemble.name, state))
        verdicts[label] = with_looks(ensemble.scores["verdict"]["advice"], ensemble.path, ensemble.settings)
    return outcomes, verdicts


def _find_or_combine(
    entry: EnsembleEntry, names: Sequence[str], runs: Path, progress: Progress
) -> tuple[State, Ensemble]:
    """Return the ensemble of these members if it exists, else make it."""
    members = open_members(runs, names)
    existing = find_ensemble(members, entry.pipeline, runs)
    if existing is not None:
        return "found", existing
    choices = asdict(entry.pipeline)
    choices.pop("budget")  # recipes have none
    return "trained", combine(members, **choices, runs=runs, progress=progress).ensemble


def _table(recipe: Recipe, members: Sequence[Outcome], ensembles: Sequence[Outcome], runs: Path) -> pd.DataFrame:
    """Return the rows in the order of the recipe; a failed one has only its label, its group and its error."""
    groups = {entry.label: entry.group for entry in recipe.entries}
    outcomes = [*members, *ensembles]
    heads: list[dict[str, Any]] = [
        {"label": one.label, "group": groups.get(one.label, "ensemble"), "name": one.name or None, "error": one.error}
        for one in outcomes
    ]
    any_run = any(one.state in ("found", "trained") for one in outcomes)
    frame = results.load(runs, evaluations=False) if any_run else pd.DataFrame({"name": pd.Series(dtype="string")})
    table = pd.DataFrame(heads).astype("string").merge(frame, on="name", how="left")
    errors = table.pop("error")
    return table.assign(error=errors)
