"""Tune one architecture with one loss: run trials on a part of the training images, then train the best as members."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ensemble.config import TrainSettings, slug
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.core.locks import DirectoryLocked
from ensemble.core.progress import Progress, no_progress
from ensemble.core.units import parse_duration
from ensemble.report.figures.tuning_trials import write_figures
from ensemble.results.export import csv_text
from ensemble.runs.layout import studies_folder
from ensemble.runs.member import Member
from ensemble.study.tuning.journal import Journal
from ensemble.study.tuning.loop import Trials
from ensemble.study.tuning.space import TunedOption, rounded, search_space, train_arguments
from ensemble.study.tuning.table import importance, trials_table
from ensemble.study.tuning.trials import inner_split
from ensemble.training.distributed.launcher import refuse_launcher
from ensemble.training.plan import Plan
from ensemble.training.train import plan_training, train

TRIALS = 20  # default, if neither a number of trials nor a budget is given


@dataclass(frozen=True)
class Opened:
    """A tuning before its trials run.

    Attributes:
        folder: folder of the tuning; its name is a function of the settings, the data and the search space.
        plan: plan of the member with all defaults.
        space: tuned options by name.
        learned: number of images that trials learn from.
        held: number of images on which trials are judged; no member is scored on them.
        ended: number of trials that had ended before.
    """

    folder: Path
    plan: Plan
    space: Mapping[str, TunedOption]
    learned: int
    held: int
    ended: int


@dataclass(frozen=True)
class Tuned:
    """Result of a tuning.

    Attributes:
        folder: folder of ``trials.csv`` and the pictures.
        trials: see ``ensemble.study.tuning.table.trials_table``; ``miou`` is that of the inner hold-out.
        best: numbers of the best trials, the best first.
        importance: share of the variance of ``miou`` by tuned option; empty if there are too few trials.
        pictures: PNG files.
        members: members by number of the trial, trained with its settings on all training images. Nothing was chosen
            by the images that they are scored on.
        elsewhere: why some members are missing; empty if no member is.
    """

    folder: Path
    trials: pd.DataFrame
    best: tuple[int, ...]
    importance: Mapping[str, float]
    pictures: tuple[Path, ...]
    members: Mapping[int, Member]
    elsewhere: str = ""


def tune(
    arguments: Mapping[str, Any],
    *,
    trials: int | None = None,
    budget: str | float | None = None,
    best: int = 1,
    epochs: int = 30,
    trial_epochs: int = 10,
    multi_objective: bool = False,
    progress: Progress = no_progress,
    on_open: Callable[[Opened], None] | None = None,
) -> Tuned:
    r"""Search for better options with Optuna (TPE and a median pruner), then train the best as members.

    Every option with a search range is tuned unless ``arguments`` set it. The validation images :math:`V` of the member
    take no part: a trial learns from one part of the other images, and is judged on the rest,

    .. math:: \hat\theta = \arg\max_\theta \mathrm{mIoU}(f_\theta(T \setminus H), H), \qquad H \subset T, \; T \cap V =
        \emptyset

    The best score of the trials is *selected*: the largest of many scores is too good. The score of a member is not
    selected, because the member is trained on all of :math:`T` and scored on :math:`V`. The first trial has the
    defaults. Processes with the same arguments share the trials. A stopped trial continues from its checkpoint.
    Repeating the call adds missing trials.

    Args:
        arguments: arguments of ``ensemble.train`` by name: ``arch``, ``loss`` and others; no ``folds``, no ``epochs``.
        trials: number of trials in all, including those of other processes and earlier calls; 20 if there is no budget.
        budget: seconds for the trials of this call, or a text such as ``"30m"``; a trial starts only if one of
            median length would fit, and a trial that does not end in time waits for the next call.
        best: number of trials that become members; 0 for none.
        epochs: epochs of the members.
        trial_epochs: epochs of the trials.
        multi_objective: optimise mIoU and seconds of training; the best trials are the Pareto-optimal ones, and none
            is pruned.
        progress: callback that receives the progress.
        on_open: called before the first trial.

    Raises:
        EnsError: any mistake in the arguments, the data or the folder; or no trial completed.
        KeyboardInterrupt: after the running trial has been saved so that it can be resumed.

    Reference:
        Akiba et al., Optuna, 2019; Bergstra et al., Algorithms for hyper-parameter optimization, 2011 (TPE); Cawley &
        Talbot, On over-fitting in model selection, 2010 (why the score that was used to choose must not be reported).
    """
    refuse_launcher("ens tune")
    for name, why in _WHY.items():
        if arguments.get(name) is not None:
            raise EnsError(f"a tuned member takes no {name}, got {arguments[name]}; {why}")
    arguments = {name: TrainSettings.model_fields[name].default for name in ("arch", "loss")} | dict(arguments)
    if min(trial_epochs, epochs) < 1 or best < 0 or (trials is not None and trials < 1):
        raise EnsError(f"expected 1 trial and epoch or more, got trials={trials}, {epochs=}, {trial_epochs=}, {best=}")
    seconds = parse_duration(budget) if isinstance(budget, str) else budget
    plan = plan_training({**arguments, "epochs": trial_epochs, "progress": progress})
    arguments["optimiser"] = plan.settings.optimiser.name
    space = search_space(arguments, plan.settings.optimiser.lr)
    learned, held = inner_split(plan)
    folder = studies_folder(Path(arguments.get("out", "runs"))) / tuning_name(plan, space, multi_objective)
    defaults = {name: option.default for name, option in space.items()}
    journal = Journal(
        folder, both=multi_objective, prune_after=trial_epochs // 3, seed=plan.settings.seed, defaults=defaults
    )
    running = Trials(journal, arguments, space, trial_epochs)
    with journal.usable():
        if on_open:
            on_open(Opened(folder, plan, space, len(learned), len(held), len(journal.ended())))
        running.run(TRIALS if trials is None and seconds is None else trials, seconds, progress)
        return _finish(journal, arguments, space, best, epochs, progress)


_WHY = {
    "folds": "with folds every image is scored, so no image is left for tuning; leave folds out",
    "steps": "give `epochs` for the members and `trial_epochs` for the trials",
    "epochs": "give `epochs` for the members and `trial_epochs` for the trials",
    "budget": "give `budget` for all trials",
}


def tuning_name(plan: Plan, space: Mapping[str, TunedOption], multi_objective: bool) -> str:
    """Return ``tune-<arch>-<loss>-<hash6>``, a function of the settings, the data and the search space."""
    settings, facts = (
        plan.settings.model_copy(update={"threads": 1}),
        plan.facts,
    )  # which processes may differ in
    looked = json.dumps({name: asdict(option) for name, option in space.items()}, sort_keys=True)
    key = settings.content_hash(facts.data_hash + facts.split_hash, looked, str(multi_objective))
    return f"tune-{slug(settings.architecture.name)}-{slug(settings.loss.name)}-{key[:6]}"


def _finish(
    journal: Journal,
    arguments: Mapping[str, Any],
    space: Mapping[str, TunedOption],
    best: int,
    epochs: int,
    progress: Progress,
) -> Tuned:
    table = trials_table(journal, space)
    shares = importance(journal)
    write_bytes(journal.folder / "trials.csv", csv_text(table).encode())
    pictures = write_figures(table, shares, journal.folder, both=journal.both)
    distinct = {
        json.dumps({name: rounded(value) for name, value in trial.params.items()}, sort_keys=True): trial
        for trial in journal.best()[::-1]
    }
    best_trials = list(distinct.values())[::-1][:best]
    members, elsewhere = dict[int, Member](), ""
    if others := journal.trials(journal.state.RUNNING):
        names = ", ".join(str(journal.number(trial)) for trial in others)
        elsewhere = f"trial {names} is still running in another process, which trains the members at the end"
    elif not journal.best():
        raise EnsError(f"no trial of {journal.folder} completed; give more trials or time")
    else:
        for trial in best_trials:
            try:
                members[journal.number(trial)] = train(
                    **train_arguments(arguments, trial.params), epochs=epochs, progress=progress
                )
            except DirectoryLocked as error:
                elsewhere = str(error)
    numbers = tuple(journal.number(trial) for trial in best_trials)
    return Tuned(journal.folder, table, numbers, shares, pictures, members, elsewhere)
