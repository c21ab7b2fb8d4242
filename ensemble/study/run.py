"""Run a study: train the missing members, combine them, and write one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ensemble import results
from ensemble.combining.combine import combine
from ensemble.combining.ensemble_settings import find_ensemble
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.core.progress import Progress, no_progress
from ensemble.results.export import csv_text
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.layout import studies_folder
from ensemble.runs.looks import with_looks
from ensemble.runs.select import open_members
from ensemble.study.jobs import Executor, OnEvent, Outcome, State
from ensemble.study.local import LocalExecutor
from ensemble.study.plan_study import first_of_each, plan_study, run_data_check
from ensemble.study.recipe import EnsembleEntry, Recipe


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
        is_unchanged: whether the file held the same table before.
    """

    recipe: Recipe
    members: tuple[Outcome, ...]
    ensembles: tuple[Outcome, ...]
    verdicts: Mapping[str, str]
    table: pd.DataFrame
    path: Path
    is_unchanged: bool

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Members and ensembles that failed."""
        return tuple(outcome for outcome in (*self.members, *self.ensembles) if outcome.state == "failed")


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
    executor, trains = executor or LocalExecutor(1, threads), first_of_each(jobs)
    for turn in filter(None, (trains, [job for job in jobs if job not in trains])):
        outcomes |= {outcome.label: outcome for outcome in executor.run(turn, on_event, on_outcome)}
    members = tuple(outcomes[one.entry.label] for one in planned)
    ensembles, verdicts = _combine(recipe, outcomes, root, progress)
    table = _table(recipe, members, ensembles, root)
    path = studies_folder(root) / f"{recipe.file.name}.csv"
    text = csv_text(table).encode()
    unchanged = path.is_file() and path.read_bytes() == text
    write_bytes(path, text)
    return StudyResult(recipe, members, tuple(ensembles), verdicts, table, path, unchanged)


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
