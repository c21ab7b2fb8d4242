"""Run a study: plan everything, train what is missing, combine, and put it all into one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ensemble import results
from ensemble.combining.combine import combine, find_ensemble
from ensemble.combining.pipeline import Pipeline
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.core.progress import Progress, no_progress
from ensemble.plugins import loaded_plugins
from ensemble.report.check_data import check_data
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.select import open_members
from ensemble.study.jobs import Executor, Job, OnEvent, Outcome, State
from ensemble.study.local import LocalExecutor
from ensemble.study.recipe import SUSPECTS, EnsembleEntry, Entry, Recipe
from ensemble.training.cost import MeasureSettings
from ensemble.training.distributed.launcher import refuse_launcher
from ensemble.training.plan import Plan
from ensemble.training.reuse import find_trained
from ensemble.training.train import plan_training


@dataclass(frozen=True)
class Planned:
    """A member of a study before training: what it will be called, and what it will take.

    Attributes:
        entry: its place in the recipe.
        job: what an executor is given.
        state: ``new``, ``interrupted`` or ``complete``.
        parameters: numbers in the network.
        images: images seen in training, all epochs and folds; None where a budget decides.
        seconds: the budget, where there is one.
        disk: bytes of the finished member, about.
        measured: what to measure for a step of its training.
    """

    entry: Entry
    job: Job
    state: str
    parameters: int
    images: int | None
    seconds: float | None
    disk: int
    measured: MeasureSettings


@dataclass(frozen=True)
class StudyResult:
    """What a study gave.

    Attributes:
        recipe: what was asked for.
        members: how every member ended, in the order of the recipe.
        ensembles: how every ensemble ended.
        verdicts: the advice on every ensemble, by its label.
        table: a row per member and ensemble that is there: ``label``, ``group``, and the columns of the results.
        path: the table as CSV.
    """

    recipe: Recipe
    members: tuple[Outcome, ...]
    ensembles: tuple[Outcome, ...]
    verdicts: Mapping[str, str]
    table: pd.DataFrame
    path: Path

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """What did not work."""
        return tuple(outcome for outcome in (*self.members, *self.ensembles) if outcome.state == "failed")


def check_first(recipe: Recipe, runs: Path, progress: Progress = no_progress) -> Recipe:
    """The recipe with ``{check}`` replaced by the list of suspects, which is written where the recipe asks for it."""
    if not recipe.file.check:
        return recipe
    suspects = runs / "studies" / f"{recipe.file.name}-check" / "suspects.csv"
    if not suspects.is_file():
        check_data(recipe.file.data, out=suspects.parent, runs=runs, progress=progress)

    def filled(entry: Entry) -> Entry:
        exclude = entry.arguments.get("exclude")
        if exclude is None:
            return entry
        return replace(entry, arguments={**entry.arguments, "exclude": exclude.replace(SUSPECTS, str(suspects))})

    return replace(recipe, entries=tuple(filled(entry) for entry in recipe.entries))


def plan_study(
    recipe: Recipe, runs: Path, threads: int | None = None, progress: Progress = no_progress
) -> list[Planned]:
    """Plan every member, so that every mistake in the recipe is found before anything is trained.

    Raises:
        EnsError: a member that cannot be trained as asked, or two that are the same one; named by their labels.
    """
    refuse_launcher("ens study")
    planned: list[Planned] = []
    for done, entry in enumerate(recipe.entries):
        progress("planning members", done, len(recipe.entries), entry.label)
        arguments = {"data": recipe.file.data, **entry.arguments, "out": str(runs)}
        try:
            one = plan_training(arguments, threads=threads)
        except EnsError as error:
            raise EnsError(f"member '{entry.label}' of the recipe '{recipe.file.name}': {error}") from None
        found = find_trained(one)
        name = found.name if found else one.path.name
        same = next((other.entry.label for other in planned if other.job.name == name), None)
        if same is not None:
            raise EnsError(f"'{entry.label}' and '{same}' are the same member, {name}; drop one of them")
        job, state = Job(entry.label, name, arguments, loaded_plugins()), "complete" if found else one.state
        planned.append(_planned(entry, job, state, one))
    progress("planning members", len(recipe.entries), len(recipe.entries))
    return planned


def _planned(entry: Entry, job: Job, state: str, plan: Plan) -> Planned:
    settings, facts = plan.settings, plan.facts
    images = None
    if settings.epochs is not None:
        images = settings.epochs * sum(len(plan.training_rows(fold)) for fold in range(len(plan.split.validation)))
    measured = MeasureSettings(
        name=settings.architecture.name,
        options=settings.architecture.options,
        bands=facts.bands,
        classes=facts.outputs,
        height=facts.height,
        width=facts.width,
        batch_size=settings.batch_size,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        plugins=job.plugins,
    )
    budget = settings.budget_seconds
    return Planned(entry, job, state, plan.parameters, images, budget, plan.disk_bytes, measured)


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
    """Train the members that are missing, make the ensembles, and write the table of the study.

    A member that fails or crashes is an outcome with its error, and the rest go on; the same call resumes.

    Args:
        recipe: from `read_recipe`.
        runs: folder for members, ensembles and ``studies/<name>.csv``.
        executor: where members are trained; one after the other on this machine where None.
        threads: threads of every member, where they are not to take all cores.
        progress: told the progress of what is done here: planning, combining.
        on_event: told the progress of members.
        on_outcome: told of every member that ended.

    Raises:
        EnsError: a mistake in the recipe; nothing was trained then.
        KeyboardInterrupt: after every process has kept what it did.
    """
    root = Path(runs)
    recipe = check_first(recipe, root, progress)
    planned = plan_study(recipe, root, threads, progress)
    tell, listen = on_outcome or (lambda _: None), on_event or (lambda *_: None)
    ended = {p.entry.label: Outcome(p.entry.label, p.job.name, "found") for p in planned if p.state == "complete"}
    for outcome in ended.values():
        tell(outcome)
    jobs = [p.job for p in planned if p.state != "complete"]
    # Members that differ in test-time augmentation alone share their weights: the one that trains them goes first.
    jobs.sort(key=lambda job: job.arguments.get("tta", "none") != "none")
    ended |= {outcome.label: outcome for outcome in (executor or LocalExecutor(1, threads)).run(jobs, listen, tell)}
    members = tuple(ended[p.entry.label] for p in planned)
    ensembles, verdicts = _combine(recipe, ended, root, progress)
    table = _table(recipe, members, ensembles, root)
    path = root / "studies" / f"{recipe.file.name}.csv"
    write_bytes(path, table.to_csv(index=False, lineterminator="\n").encode())
    return StudyResult(recipe, members, tuple(ensembles), verdicts, table, path)


def _combine(
    recipe: Recipe, ended: Mapping[str, Outcome], runs: Path, progress: Progress
) -> tuple[list[Outcome], dict[str, str]]:
    outcomes, verdicts = list[Outcome](), dict[str, str]()
    for ensemble in recipe.file.ensembles:
        chosen = [ended[entry.label] for entry in recipe.members_of(ensemble)]
        label = ensemble.label or _ensemble_label(ensemble, len(chosen))
        missing = [one.label for one in chosen if one.state not in ("found", "trained")]
        if missing:
            outcomes.append(Outcome(label, "", "failed", error=f"not made: without {', '.join(missing)}"))
            continue
        try:
            state, made = _combined(ensemble, [one.name for one in chosen], runs, progress)
        except EnsError as error:
            outcomes.append(Outcome(label, "", "failed", error=str(error)))
            continue
        outcomes.append(Outcome(label, made.name, state))
        verdicts[label] = made.scores["verdict"]["advice"]
    return outcomes, verdicts


def _combined(ensemble: EnsembleEntry, names: Sequence[str], runs: Path, progress: Progress) -> tuple[State, Ensemble]:
    members = open_members(runs, names)
    pipeline = Pipeline(ensemble.method, ensemble.calibrate, ensemble.decide, ensemble.top)
    existing = find_ensemble(members, pipeline, runs)
    if existing is not None:
        return "found", existing
    return "trained", combine(members, **asdict(pipeline), runs=runs, progress=progress).ensemble


def _ensemble_label(ensemble: EnsembleEntry, members: int) -> str:
    steps = [] if ensemble.calibrate == "none" else [f"calibrate={ensemble.calibrate}"]
    steps += [] if ensemble.decide == "argmax" else [f"decide={ensemble.decide}"]
    of = " + ".join(ensemble.of) if ensemble.of else f"all {members}"
    return ", ".join([f"{ensemble.method} of {of}", *steps])


def _table(recipe: Recipe, members: Sequence[Outcome], ensembles: Sequence[Outcome], runs: Path) -> pd.DataFrame:
    """Rows in the order of the recipe; one that failed has its label and error alone."""
    groups = {entry.label: entry.group for entry in recipe.entries}
    ended = [*members, *ensembles]
    heads: list[dict[str, Any]] = [
        {"label": one.label, "group": groups.get(one.label, "ensemble"), "name": one.name or None, "error": one.error}
        for one in ended
    ]
    there = any(one.state in ("found", "trained") for one in ended)
    frame = results.load(runs) if there else pd.DataFrame({"name": pd.Series(dtype="string")})
    table = pd.DataFrame(heads).astype("string").merge(frame, on="name", how="left")
    last = table.pop("error")
    return table.assign(error=last)
