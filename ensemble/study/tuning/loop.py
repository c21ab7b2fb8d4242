"""Run trials in this process until there are enough of them or the time is spent."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ensemble.core.errors import EnsError
from ensemble.core.formatting import in_percent
from ensemble.core.progress import Progress
from ensemble.study.tuning.journal import CHECKPOINT, EPOCH, ERROR, MIOU, SECONDS, Journal
from ensemble.study.tuning.space import TunedOption, train_arguments
from ensemble.study.tuning.trials import History, train_trial
from ensemble.training.train import plan_training

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

TASK = "tuning, %"


class Trials:
    """Run the trials of this process."""

    def __init__(
        self, journal: Journal, arguments: Mapping[str, Any], space: Mapping[str, TunedOption], epochs: int
    ) -> None:
        self.journal, self.arguments, self.space, self.epochs = journal, arguments, space, epochs

    def run(self, trials: int | None, seconds: float | None, progress: Progress) -> None:
        """Run trials until there are enough of them, or the next one would not fit into the remaining time."""
        started = time.monotonic()
        while True:
            self.journal.free_dead()
            ended = self.journal.ended()
            spent = time.monotonic() - started
            count = len(ended) + len(self.journal.trials(self.journal.state.RUNNING))
            if (trials is not None and count >= trials) or (seconds is not None and not _fits(ended, seconds - spent)):
                break

            def share(part: float, before: int = len(ended)) -> float:
                of_time = (time.monotonic() - started) / seconds if seconds else 0.0
                return max(of_time, (before + part) / trials if trials else 0.0)

            found = self.journal.best()
            end = started + seconds if seconds is not None and found else math.inf  # the first may take longer
            with self.journal.running_trial() as trial:
                number = self.journal.number(trial)
                self._one(trial, _advance(progress, number, found, share, end))
        progress(TASK, 100, 100)

    def _one(self, trial: Trial, progress: Progress) -> None:
        """Run one trial and store how it ended. If its values are invalid, only this trial is marked as failed."""
        journal = self.journal
        values = {name: knob.suggest(trial) for name, knob in self.space.items()}
        checkpoint, judge = journal.place(trial) / CHECKPOINT, Judge(trial, self.epochs, prunes=not journal.both)
        state, error = journal.state.COMPLETE, ""
        try:
            plan = plan_training({**train_arguments(self.arguments, values), "epochs": self.epochs})
            train_trial(plan, self.epochs, checkpoint, judge, progress)
        except journal.optuna.TrialPruned:
            state = journal.state.PRUNED
        except _OutOfTime:
            return
        except (EnsError, MemoryError, RuntimeError) as problem:  # torch's errors are RuntimeErrors
            if not journal.best():  # the cause is not these values
                raise EnsError(f"the first trial failed: {problem}") from problem
            state, error = journal.state.FAIL, str(problem).splitlines()[0]
        self._store(trial, state, judge.history, error)

    def _store(self, trial: Trial, state: Any, history: History, error: str) -> None:
        scores = [row["val_miou"] for row in history if row["val_miou"] is not None]
        seconds = sum(row["seconds"] for row in history)
        attributes = {EPOCH: len(history), SECONDS: seconds} | ({MIOU: scores[-1]} if scores else {})
        for key, value in (attributes | ({ERROR: error} if error else {})).items():
            trial.set_user_attr(key, value)
        values = [*scores[-1:], seconds] if self.journal.both else scores[-1:]
        self.journal.study.tell(trial, values if state == self.journal.state.COMPLETE else None, state)


class Judge:
    """Callback that reports the score of every judged epoch to Optuna, and ends a trial that Optuna prunes."""

    def __init__(self, trial: Trial, epochs: int, *, prunes: bool) -> None:
        self.trial, self.epochs, self.prunes = trial, epochs, prunes
        self.history: History = []
        self._reported = 0

    def __call__(self, rows: History) -> None:
        """Report the new rows of the history after an epoch."""
        self.history = rows
        fresh, self._reported = rows[self._reported :], len(rows)
        if not self.prunes:
            return
        for row in fresh:
            if row["val_miou"] is not None:
                self.trial.report(row["val_miou"], row["epoch"])
        if rows[-1]["epoch"] < self.epochs and rows[-1]["val_miou"] is not None and self.trial.should_prune():
            from optuna import TrialPruned  # noqa: PLC0415  (an extra)

            raise TrialPruned


class _OutOfTime(Exception):
    """The time budget ran out while a trial was running."""


def _advance(
    progress: Progress, number: int, found: Sequence[FrozenTrial], share: Callable[[float], float], end: float
) -> Progress:
    """Return a callback that reports a trial's progress as a share of the tuning, and stops it at time ``end``."""
    best = f", best so far {in_percent(found[0].values[0])}" if found else ""

    def report(_: str, done: int, total: int, note: str = "", /) -> None:
        if time.monotonic() > end:
            raise _OutOfTime
        progress(TASK, min(99, int(100 * share(done / total))), 100, f"trial {number}: {note}{best}")

    return report


def _fits(ended: Sequence[FrozenTrial], left: float) -> bool:
    """Report whether a trial of median length would end in time; the first trial may always start."""
    took = [trial.duration.total_seconds() for trial in ended if trial.duration is not None]
    return left > 0 and (not took or statistics.median(took) <= left)
