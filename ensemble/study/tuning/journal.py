"""Store the trials of one tuning in Optuna's journal file, which several processes share."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from ensemble.core.errors import EnsError
from ensemble.core.locks import DirectoryLocked, locked

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

FILE, LOCK = "journal.log", ".journal.lock"
STUDY = "tune"
CHECKPOINT = "checkpoint.pt"
ORIGIN, ERROR, SECONDS, EPOCH, MIOU = (
    "origin",
    "error",
    "seconds",
    "epoch",
    "miou",
)  # keys stored with a trial


class Journal:
    """Hold the trials of all processes that work on the same folder.

    A running trial holds the lock of its folder, which also holds its checkpoint. If its process dies, the operating
    system frees the lock. The trial is then queued, and the next process continues from that checkpoint. Trials start
    and stop under the lock of the journal, so under that lock a running trial without a lock is a dead one.

    Args:
        folder: folder of the tuning.
        both: whether the time of training is an objective in addition to mIoU.
        prune_after: number of epochs in which no trial is pruned.
        seed: seed of the samplers; trial n draws from (seed, n) in every process.
        defaults: values of the first trial.

    Raises:
        EnsError: Optuna is not installed, or the journal cannot be read or written.
    """

    def __init__(self, folder: Path, *, both: bool, prune_after: int, seed: int, defaults: Mapping[str, Any]) -> None:
        self.folder, self.seed, self.both = folder, seed, both
        try:
            import optuna  # noqa: PLC0415  (an extra)
            from optuna.storages import JournalStorage  # noqa: PLC0415
            from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise EnsError(
                f"expected the package optuna, found no module '{error.name}'; run `pip install 'ens-toolkit[tune]'`"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna = optuna
        self.state = optuna.trial.TrialState
        with self.usable():
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / FILE
            # Optuna's locks are files whose existence is the lock: a killed process would block the next for 30 s.
            self._lock: Any = FileLock(folder / LOCK)
            mend(file, self._lock)
            try:
                self.study: Study = optuna.create_study(
                    study_name=STUDY,
                    storage=JournalStorage(JournalFileBackend(str(file), self._lock)),
                    directions=["maximize", "minimize"] if both else ["maximize"],
                    load_if_exists=True,
                    # Pruning starts after five whole trials; a median needs at least three values.
                    pruner=optuna.pruners.MedianPruner(5, prune_after + 1, n_min_trials=3),
                )
                self.study.enqueue_trial(dict(defaults), skip_if_exists=True)
            except (ValueError, KeyError, TypeError) as error:
                raise EnsError(
                    f"{file} is damaged ({type(error).__name__}: {error}); delete {folder} to start this tuning again"
                ) from error

    @contextmanager
    def usable(self) -> Generator[None]:
        """Turn an ``OSError`` within the block into an ``EnsError`` about the journal."""
        try:
            yield
        except OSError as error:
            raise EnsError(
                f"cannot use {self.folder}: {error.strerror or error}; free disk space or choose another folder"
            ) from error

    @contextmanager
    def running_trial(self) -> Generator[Trial]:
        """Start a trial and hold the lock of its folder; a trial that the block does not end is queued again."""
        held = ExitStack()
        with self._lock:
            trial = self.ask()
            held.enter_context(locked(self.place(trial)))
        try:
            yield trial
        finally:
            with self._lock, held:
                if self._find(trial.number).state == self.state.RUNNING:
                    self.give_back(self._find(trial.number))
            self.free_dead()

    def ask(self) -> Trial:
        """Return a new trial; its values are drawn when they are suggested."""
        trial = self.study.ask()
        seed = int(np.random.SeedSequence([self.seed, self.number(trial)]).generate_state(1)[0])
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed)
        return trial

    def number(self, trial: Trial | FrozenTrial) -> int:
        """Return the number of a trial, from 0 on; a repeated trial has the number of the one that it repeats."""
        before = self.trials()[: _origin(trial)]
        return sum(ORIGIN not in one.user_attrs for one in before)

    def place(self, trial: Trial | FrozenTrial) -> Path:
        """Return the folder of a trial; a repeated trial uses the folder of the one that it repeats."""
        return self.folder / "trials" / str(_origin(trial))

    def give_back(self, trial: FrozenTrial) -> None:
        """End a stopped trial and queue it again, so that a later trial continues from its checkpoint.

        A trial without a checkpoint may have drawn only some of its values, and draws them again.
        """
        origin = _origin(trial)
        if not any(_origin(later) == origin for later in self.trials()[trial.number + 1 :]):
            given = trial.system_attrs.get("fixed_params", {})
            values = trial.params if (self.place(trial) / CHECKPOINT).is_file() else given
            self.study.enqueue_trial(values, user_attrs={ORIGIN: origin})
        self.study.tell(trial.number, state=self.state.FAIL)

    def free_dead(self) -> None:
        """Queue the trials whose processes have died, and remove the folders of trials that have ended."""
        with self._lock:
            for trial in self.trials(self.state.RUNNING):
                with suppress(DirectoryLocked), locked(self.place(trial)):
                    self.give_back(trial)
            in_use = {self.place(trial) for trial in self.trials(self.state.RUNNING, self.state.WAITING)}
            for place in (self.folder / "trials").glob("*"):
                if place not in in_use:
                    shutil.rmtree(place, ignore_errors=True)

    def _find(self, number: int) -> FrozenTrial:
        return self.trials()[number]

    def trials(self, *states: Any) -> list[FrozenTrial]:
        """Return the trials in these states, or in any state if none is given, the oldest first."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def ended(self) -> list[FrozenTrial]:
        """Return the trials with an outcome: complete, pruned, or failed because their values are invalid."""
        last = {_origin(trial): trial.number for trial in self.trials()}
        found = self.trials(self.state.COMPLETE, self.state.PRUNED, self.state.FAIL)
        found = [trial for trial in found if last[_origin(trial)] == trial.number]  # others were queued again
        return [trial for trial in found if trial.state != self.state.FAIL or ERROR in trial.user_attrs]

    def best(self) -> list[FrozenTrial]:
        """Return the complete trials, the largest mIoU first; with two objectives only the Pareto-optimal ones."""
        complete = self.study.best_trials if self.both else self.trials(self.state.COMPLETE)
        return sorted(complete, key=lambda trial: (-trial.values[0], trial.number))


def _origin(trial: Trial | FrozenTrial) -> int:
    """Return the number under which Optuna stored the first try of a trial."""
    return trial.user_attrs.get(ORIGIN, trial.number)


def mend(file: Path, lock: Any) -> None:
    """Cut off a half-written last line, which a killed process or a full disk can leave."""
    if not file.is_file():
        return
    with lock, file.open("rb+") as stream:
        content = stream.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            stream.truncate(whole)
