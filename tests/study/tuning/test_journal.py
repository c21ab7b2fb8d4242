"""The shared journal: what stopped is tried again, what broke off is mended, what is damaged is told."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble.core.errors import EnsError
from ensemble.study.tuning.journal import CHECKPOINT, ERROR, FILE, MIOU, SECONDS, Journal
from ensemble.study.tuning.loop import Judge
from ensemble.study.tuning.table import importance, trials_table

optuna = pytest.importorskip("optuna")
Open = Callable[..., Journal]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """``opened(both=False)``: the journal of this test, as another process would open it."""

    def run(*, both: bool = False) -> Journal:
        return Journal(tmp_path / "study", both=both, prune_after=1, seed=3, defaults={"lr": 0.5})

    return run


def tell(journal: Journal, score: Callable[[float, float], float]) -> float:
    """Run a trial whose mIoU is a function of ``lr`` and of ``idle``."""
    trial = journal.ask()
    lr, idle = trial.suggest_float("lr", 0.1, 1.0), trial.suggest_float("idle", 0.0, 1.0)
    trial.set_user_attr(MIOU, score(lr, idle))
    journal.study.tell(trial, [score(lr, idle), lr] if journal.both else score(lr, idle))
    return lr


def test_the_first_trial_has_the_defaults_however_often_it_is_opened(opened: Open) -> None:
    opened()
    assert tell(opened(), lambda lr, _: lr) == 0.5
    assert tell(opened(), lambda lr, _: lr) != 0.5


def test_trial_n_draws_the_same_whichever_process_asks(tmp_path: Path) -> None:
    def drawn(folder: str, *, again: bool) -> list[float]:
        made = [Journal(tmp_path / folder, both=False, prune_after=1, seed=3, defaults={"lr": 0.5})]
        values: list[float] = []
        for _ in range(3):
            values.append(tell(made[-1], lambda lr, _: lr))
            if again:
                made.append(Journal(tmp_path / folder, both=False, prune_after=1, seed=3, defaults={"lr": 0.5}))
        return values

    assert drawn("one", again=False) == drawn("many", again=True)


def test_a_stopped_trial_waits_with_its_values_and_its_place(opened: Open) -> None:
    journal = opened()
    tell(journal, lambda lr, _: lr)
    place = journal.folder / "trials" / "1"
    with journal.running_trial() as trial:
        lr = trial.suggest_float("lr", 0.1, 1.0)
        (place / CHECKPOINT).touch()
    assert len(journal.ended()) == 1
    assert [file.name for file in place.iterdir()] == [CHECKPOINT]
    for _ in range(2):  # and once more
        with opened().running_trial() as trial:
            assert trial.suggest_float("lr", 0.1, 1.0) == lr
            assert (journal.place(trial), journal.number(trial)) == (place, 1)
    with journal.running_trial() as trial:
        journal.study.tell(trial, 0.5)
    assert not place.exists()
    with journal.running_trial() as trial:
        assert journal.number(trial) == 2


def test_repeated_trials_change_neither_numbers_nor_values(tmp_path: Path) -> None:
    def drawn(folder: str, *, stops: bool) -> list[tuple[int, float, float]]:
        journal = Journal(tmp_path / folder, both=False, prune_after=1, seed=3, defaults={"lr": 0.5})
        found: list[tuple[int, float, float]] = []
        while len(found) < 4:
            if stops:
                with journal.running_trial() as trial:  # stopped after the first of two values
                    trial.suggest_float("lr", 0.1, 1.0)
            with journal.running_trial() as trial:
                lr, idle = trial.suggest_float("lr", 0.1, 1.0), trial.suggest_float("idle", 0.0, 1.0)
                found.append((journal.number(trial), lr, idle))
                trial.set_user_attr(MIOU, lr)
                journal.study.tell(trial, lr)
        assert trials_table(journal, {})["trial"].tolist() == [0, 1, 2, 3]
        assert [journal.number(trial) for trial in journal.ended()] == [0, 1, 2, 3]
        return found

    assert drawn("stopped", stops=True) == drawn("straight", stops=False)


def test_a_trial_that_died_with_its_error_stored_counts_once(opened: Open) -> None:
    journal = opened()
    journal.ask().set_user_attr(ERROR, "out of memory")
    opened().free_dead()
    assert journal.ended() == []
    with journal.running_trial() as trial:
        trial.set_user_attr(ERROR, "out of memory")
        journal.study.tell(trial, state=journal.state.FAIL)
    assert [journal.number(trial) for trial in journal.ended()] == [0]


def test_a_trial_is_queued_once_although_its_return_was_interrupted(opened: Open) -> None:
    journal = opened()
    trial = journal.ask()
    journal.study.enqueue_trial({}, user_attrs={"origin": trial.number})  # killed before the trial was ended
    opened().free_dead()
    assert journal.trials(journal.state.RUNNING) == []
    assert len(journal.trials(journal.state.WAITING)) == 1


def test_trials_of_dead_processes_are_given_back_those_of_living_ones_are_not(opened: Open) -> None:
    journal = opened()
    with journal.running_trial() as trial:
        opened().free_dead()
        assert len(journal.trials(journal.state.RUNNING)) == 1
        journal.study.tell(trial, 0.5)
    journal.ask()  # its process dies before it holds the lock
    opened().free_dead()
    assert journal.trials(journal.state.RUNNING) == []
    assert len(journal.trials(journal.state.WAITING)) == 1


def test_folders_of_ended_trials_are_removed(opened: Open) -> None:
    journal = opened()
    tell(journal, lambda lr, _: lr)
    (journal.folder / "trials" / "0").mkdir(parents=True)  # its process died before it removed the folder
    opened().free_dead()
    assert list((journal.folder / "trials").iterdir()) == []


def test_a_killed_process_does_not_lock_the_journal(opened: Open, tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from ensemble.study.tuning.journal import Journal
journal = Journal(Path({str(tmp_path / "study")!r}), both=False, prune_after=1, seed=3, defaults={{}})
with journal._lock:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    began = time.monotonic()
    opened().free_dead()
    assert time.monotonic() - began < 20  # Optuna would wait for 30 s


def test_a_line_that_broke_off_is_cut_and_the_rest_stays(opened: Open) -> None:
    journal = opened()
    tell(journal, lambda lr, _: lr)
    file = journal.folder / FILE
    with file.open("ab") as stream:
        stream.write(b'{"op_code":4,"worker')
    tell(opened(), lambda lr, _: lr)
    assert len(opened().ended()) == 2


def test_a_damaged_journal_is_one_sentence(opened: Open) -> None:
    file = opened().folder / FILE
    file.write_bytes(b"no journal\n" + file.read_bytes())
    with pytest.raises(EnsError, match=r"journal\.log is damaged .*; delete .* to start this tuning again"):
        opened()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "study").write_text("a file")
    with pytest.raises(EnsError, match=r"cannot use .*study: .*exists"):
        opened()


def test_without_optuna_the_extra_is_named(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(EnsError, match=r"pip install 'ens-toolkit\[tune\]'"):
        opened()


def test_importances_find_the_option_that_matters(opened: Open) -> None:
    journal = opened()
    for _ in range(3):
        tell(journal, lambda lr, _: lr)
    assert importance(journal) == {}  # of three trials nothing can be told
    for _ in range(12):
        tell(journal, lambda lr, _: lr)
    shares = importance(journal)
    assert list(shares) == ["lr", "idle"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["lr"] > 0.8


def test_equal_scores_have_no_importances(opened: Open) -> None:
    journal = opened()
    for _ in range(5):
        tell(journal, lambda *_: 0.5)
    assert importance(journal) == {}


def test_with_two_objectives_the_best_are_those_that_none_beats_in_both(opened: Open) -> None:
    journal = opened(both=True)
    for _ in range(8):
        tell(journal, lambda lr, idle: round(idle, 1) / 2)
    points = {trial.number: trial.values for trial in journal.ended()}
    front = [
        number
        for number, (miou, seconds) in points.items()
        if not any(m >= miou and s <= seconds and [m, s] != [miou, seconds] for m, s in points.values())
    ]
    assert [trial.number for trial in journal.best()] == sorted(front, key=lambda number: (-points[number][0], number))


def rows(*scores: float | None) -> list[dict[str, Any]]:
    return [{"epoch": epoch + 1, "val_miou": score, "seconds": 1.0} for epoch, score in enumerate(scores)]


def test_a_trial_below_the_median_is_pruned_and_says_how_far_it_came(opened: Open) -> None:
    journal = opened()
    for score in (0.5, 0.6, 0.7, 0.5, 0.6):
        trial = journal.ask()
        judge = Judge(trial, 3, prunes=True)
        for end in (1, 2, 3):
            judge(rows(*[score] * end))
        journal.study.tell(trial, score)
    Judge(journal.ask(), 3, prunes=True)(rows(0.6, 0.6))
    Judge(journal.ask(), 3, prunes=False)(rows(0.1, 0.1))
    Judge(journal.ask(), 3, prunes=True)(rows(0.1, 0.1, 0.1))  # the last epoch is over anyway
    bad = Judge(trial := journal.ask(), 4, prunes=True)
    bad(rows(0.1))  # the first epoch, in which none is pruned
    bad(rows(0.1, None))  # not judged
    with pytest.raises(optuna.TrialPruned):
        bad(rows(0.1, None, 0.1))
    trial.set_user_attr(SECONDS, 2.0)
    journal.study.tell(trial, state=journal.state.PRUNED)
    table: Any = trials_table(journal, {}).set_index("trial")
    assert table.loc[trial.number, ["state", "seconds"]].tolist() == ["pruned", 2.0]
