"""Store the trials of one tuning in Optuna's journal file, which several processes share."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.core.errors import EnsError
from ensemble.core.locks import DirectoryLocked, locked

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

FILE = "journal.log"
STUDY = "tune"
YOUNG = 30.0  # seconds after its start in which a trial may not hold its lock yet
ORIGIN, ERROR, SECONDS, EPOCH, MIOU = (
    "origin",
    "error",
    "seconds",
    "epoch",
    "miou",
)  # keys stored with a trial


class Journal:
    """Trials of every process that works on the same folder.

    A running trial holds the lock of its folder, which also holds its checkpoint. If its process dies, the lock becomes
    free. Its values are then queued, and the next process continues from that checkpoint.

    Args:
        folder: folder of the tuning.
        both: whether seconds of training are an objective in addition to mIoU.
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
            from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise EnsError(
                f"expected the package optuna, found no module '{error.name}'; run `pip install 'ens-toolkit[tune]'`"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna = optuna
        self.state = optuna.trial.TrialState
        with self.usable():
            folder.mkdir(parents=True, exist_ok=True)
            file = str(folder / FILE)
            mend(folder / FILE, JournalFileOpenLock(file))
            try:
                self.study: Study = optuna.create_study(
                    study_name=STUDY,
                    storage=JournalStorage(JournalFileBackend(file, JournalFileOpenLock(file))),
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
                f"cannot use {self.folder}: {error.strerror or error}; free some disk or choose another --out"
            ) from error

    def ask(self) -> Trial:
        """Return a new trial; its values are drawn when they are suggested."""
        trial = self.study.ask()
        seed = int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0])
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed)
        return trial

    def place(self, trial: Trial | FrozenTrial) -> Path:
        """Return the folder of a trial; a repeated trial uses the folder of the one that it repeats."""
        return self.folder / "trials" / str(trial.user_attrs.get(ORIGIN, trial.number))

    def give_back(self, trial: Trial | FrozenTrial) -> None:
        """End a stopped trial and queue its values, so that a later trial continues from its checkpoint."""
        self.study.tell(trial.number, state=self.state.FAIL)
        self.study.enqueue_trial(trial.params, user_attrs={ORIGIN: trial.user_attrs.get(ORIGIN, trial.number)})

    def free_dead(self) -> None:
        """Queue the trials whose processes have died."""
        for trial in self.trials(self.state.RUNNING):
            begun = trial.datetime_start or datetime.now()
            if (datetime.now() - begun).total_seconds() < YOUNG:
                continue
            with suppress(DirectoryLocked), locked(self.place(trial)):
                if self.study.get_trials(deepcopy=False)[trial.number].state == self.state.RUNNING:
                    self.give_back(trial)

    def trials(self, *states: Any) -> list[FrozenTrial]:
        """Return the trials in these states, the oldest first."""
        return self.study.get_trials(deepcopy=False, states=states)

    def ended(self) -> list[FrozenTrial]:
        """Return the trials with an outcome: complete, pruned, or failed because their values are invalid."""
        found = self.trials(self.state.COMPLETE, self.state.PRUNED, self.state.FAIL)
        return [trial for trial in found if trial.state != self.state.FAIL or ERROR in trial.user_attrs]

    def best(self) -> list[FrozenTrial]:
        """Return the complete trials, the largest mIoU first; with two objectives only the Pareto-optimal ones."""
        complete = self.study.best_trials if self.both else self.trials(self.state.COMPLETE)
        return sorted(complete, key=lambda trial: (-trial.values[0], trial.number))


def mend(file: Path, lock: Any) -> None:
    """Cut off a half-written last line, which a killed process or a full disk can leave."""
    if not file.is_file():
        return
    lock.acquire()
    try:
        with file.open("rb+") as stream:
            content = stream.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                stream.truncate(whole)
    finally:
        lock.release()
