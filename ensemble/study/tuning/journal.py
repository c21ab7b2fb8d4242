"""The trials of one tuning in Optuna's own storage, a journal file that several processes share."""

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
YOUNG = 30.0  # seconds in which a trial that has begun may not have its lock yet
ORIGIN, ERROR, SECONDS, EPOCH, MIOU = "origin", "error", "seconds", "epoch", "miou"  # what we write beside a trial


class Journal:
    """Trials of every process that works on the same folder.

    A trial that runs holds the lock of its own folder, where its checkpoint is. One whose process died has a lock that
    can be taken: its values then wait to be tried again, by whoever comes next, from that checkpoint.

    Args:
        folder: of the tuning.
        both: seconds of training are an objective too, beside mIoU.
        prune_after: epochs in which no trial is pruned.
        seed: of the samplers; trial n draws from (seed, n), whichever process runs it.
        defaults: values of the first trial.

    Raises:
        EnsError: Optuna is not there, or the journal cannot be read or written.
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
                    # Five whole trials come first, and the median of fewer than three says nothing.
                    pruner=optuna.pruners.MedianPruner(5, prune_after + 1, n_min_trials=3),
                )
                self.study.enqueue_trial(dict(defaults), skip_if_exists=True)
            except (ValueError, KeyError, TypeError) as error:
                raise EnsError(
                    f"{file} is damaged ({type(error).__name__}: {error}); delete {folder} to start this tuning again"
                ) from error

    @contextmanager
    def usable(self) -> Generator[None]:
        """Within the block a journal that cannot be read or written is an ``EnsError``."""
        try:
            yield
        except OSError as error:
            raise EnsError(
                f"cannot use {self.folder}: {error.strerror or error}; free some disk or choose another --out"
            ) from error

    def ask(self) -> Trial:
        """A new trial; its values are drawn when they are suggested."""
        trial = self.study.ask()
        seed = int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0])
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed)
        return trial

    def place(self, trial: Trial | FrozenTrial) -> Path:
        """The folder of a trial: that of the one whose values it tries again, where it does."""
        return self.folder / "trials" / str(trial.user_attrs.get(ORIGIN, trial.number))

    def give_back(self, trial: Trial | FrozenTrial) -> None:
        """End a trial that was stopped, and let its values wait to be tried again, from its checkpoint."""
        self.study.tell(trial.number, state=self.state.FAIL)
        self.study.enqueue_trial(trial.params, user_attrs={ORIGIN: trial.user_attrs.get(ORIGIN, trial.number)})

    def free_dead(self) -> None:
        """Give back the trials whose processes died."""
        for trial in self.trials(self.state.RUNNING):
            begun = trial.datetime_start or datetime.now()
            if (datetime.now() - begun).total_seconds() < YOUNG:
                continue
            with suppress(DirectoryLocked), locked(self.place(trial)):
                if self.study.get_trials(deepcopy=False)[trial.number].state == self.state.RUNNING:
                    self.give_back(trial)

    def trials(self, *states: Any) -> list[FrozenTrial]:
        """Trials in these states, the oldest first."""
        return self.study.get_trials(deepcopy=False, states=states)

    def ended(self) -> list[FrozenTrial]:
        """Trials with an outcome: complete, pruned, or failed by a mistake of their values, not by being stopped."""
        found = self.trials(self.state.COMPLETE, self.state.PRUNED, self.state.FAIL)
        return [trial for trial in found if trial.state != self.state.FAIL or ERROR in trial.user_attrs]

    def best(self) -> list[FrozenTrial]:
        """Complete trials, the largest mIoU first; with two objectives only those that no other beats in both."""
        complete = self.study.best_trials if self.both else self.trials(self.state.COMPLETE)
        return sorted(complete, key=lambda trial: (-trial.values[0], trial.number))


def mend(file: Path, lock: Any) -> None:
    """Cut off the line that a process left half-written when it died or the disk was full; the rest stays."""
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
