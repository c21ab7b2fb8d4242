"""A run that was interrupted and resumed is the uninterrupted run, bit by bit."""

from __future__ import annotations

import csv
import errno
import math
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ensemble.core.errors import EnsError
from ensemble.core.files import read_json, write_json
from ensemble.core.locks import LOCK, OWNER, DirectoryLocked, locked
from ensemble.core.progress import Progress
from ensemble.runs.member import Member
from ensemble.training import progress_state
from ensemble.training import train as training
from ensemble.training.checkpoint import load_checkpoint, save_checkpoint

Content = Callable[[Path], dict[str, object]]
Train = Callable[..., Member]
Interrupt = Callable[[str, int], Progress]

HOLD_OUT: dict[str, Any] = {"epochs": 3, "augment": "full"}
MIXED: dict[str, Any] = {
    "augment": "geometric + copy-paste(count=2) + cutmix",
    "sampler": "rare(per_batch=2)",
    "arch": "unet-baseline(filters=2, depth=2, deep_supervision=true)",
}
MUON: dict[str, Any] = {"arch": "unet-baseline(filters=16, depth=1)", "optimiser": "muon"}
FOLDS: dict[str, Any] = {"epochs": 2, "folds": 3, "augment": "none"}


@pytest.fixture(scope="module")
def whole(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The member that was never interrupted, trained once per settings."""
    done: dict[str, Path] = {}

    def of(**settings: Any) -> Path:
        key = str(sorted(settings.items()))
        if key not in done:
            done[key] = train_tiny(tmp_path_factory.mktemp("whole") / "runs", **settings).path
        return done[key]

    return of


@pytest.mark.parametrize(
    ("settings", "task", "done"),
    [
        pytest.param(HOLD_OUT, "training", 2, id="first epoch, before any checkpoint"),
        pytest.param(HOLD_OUT, "training", 7, id="a later epoch"),
        pytest.param(HOLD_OUT | {"precision": "bf16"}, "training", 7, id="a later epoch in bf16"),
        pytest.param(HOLD_OUT | MUON, "training", 7, id="a later epoch with Muon"),
        pytest.param(HOLD_OUT | MIXED, "training", 7, id="copy-paste, cutmix and rare batches"),
        pytest.param(HOLD_OUT | {"keep": "best"}, "training", 10, id="the last epoch of keep best"),
        pytest.param(HOLD_OUT, "predicting validation images", 6, id="prediction of validation images"),
        pytest.param(HOLD_OUT, "predicting test images", 5, id="prediction of test images"),
        pytest.param(FOLDS, "training fold 1 of 3", 6, id="the first of three folds"),
        pytest.param(FOLDS, "training fold 2 of 3", 1, id="between folds"),
        pytest.param(FOLDS | {"precision": "bf16"}, "training fold 3 of 3", 6, id="the last fold in bf16"),
        pytest.param(FOLDS, "predicting validation images", 16, id="out-of-fold prediction"),
    ],
)
def test_a_resumed_run_repeats_the_uninterrupted_one(
    train_tiny: Train,
    whole: Callable[..., Path],
    interrupt: Interrupt,
    content_of: Content,
    tmp_path: Path,
    settings: dict[str, Any],
    task: str,
    done: int,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt(task, done), **settings)
    (path,) = (tmp_path / "runs" / "members").iterdir()
    assert read_json(path / "status.json")["state"] == "interrupted"
    with pytest.raises(EnsError, match=r"is not finished \(state 'interrupted'\); repeat its train command to resume"):
        Member.open(path)
    member = train_tiny(tmp_path / "runs", **settings)
    assert member.path == path
    log = [line.partition(" ")[2] for line in (path / "log.txt").read_text().splitlines()]
    assert log[0] == f"started, {settings['epochs']} epochs"
    assert "interrupted; the same command resumes" in log
    assert log.count("resumed") == 1
    uninterrupted = whole(**settings)
    assert path.name == uninterrupted.name
    expected, found = content_of(uninterrupted), content_of(path)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(HOLD_OUT | {"deterministic": True}, id="deterministic"),
        pytest.param(HOLD_OUT | {"precision": "bf16"}, id="bf16"),
        pytest.param(HOLD_OUT | MIXED, id="copy-paste, cutmix, rare batches and a U-Net"),
        pytest.param(HOLD_OUT | {"keep": "best"}, id="keep best"),
    ],
)
def test_a_run_goes_on_in_the_middle_of_an_epoch(
    train_tiny: Train,
    whole: Callable[..., Path],
    interrupt: Interrupt,
    content_of: Content,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
) -> None:
    expected = content_of(whole(**settings))
    monkeypatch.setattr(progress_state, "MOST_SECONDS", 0.0)
    for done in (3, 7):  # of 12 steps, 4 in an epoch; a checkpoint follows the report of a step
        with pytest.raises(KeyboardInterrupt):
            train_tiny(tmp_path / "runs", progress=interrupt("training", done), **settings)
    steps: list[int] = []
    member = train_tiny(
        tmp_path / "runs",
        progress=lambda task, done, *_: steps.append(done) if task == "training" else None,
        **settings,
    )
    assert steps == [7, 8, 9, 10, 11, 12]
    assert content_of(member.path) == expected
    assert all(
        float(row["seconds"]) > 0 for row in csv.DictReader((member.path / "history.csv").read_text().splitlines())
    )


@dataclass
class Clock:
    """A clock that only the test moves."""

    now: float = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def kept_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], tuple[Progress, list[tuple[int, int]]]]:
    """``kept_at(step, save)``: a callback for which both take these seconds, and the (epoch, step) that are kept."""

    def made(step_seconds: float, save_seconds: float) -> tuple[Progress, list[tuple[int, int]]]:
        clock, kept, save = Clock(), list[tuple[int, int]](), progress_state.save_checkpoint

        def note(path: Path, state: dict[str, Any]) -> None:
            kept.append((state["epoch"], state["step"]))
            save(path, state)
            clock.now += save_seconds

        def progress(task: str, *_: object) -> None:
            clock.now += step_seconds * (task == "training")

        monkeypatch.setattr(progress_state, "save_checkpoint", note)
        monkeypatch.setattr(progress_state, "time", clock)
        return progress, kept

    return made


def test_long_epochs_are_kept_now_and_then(train_tiny: Train, tmp_path: Path, kept_at: Any) -> None:
    progress, kept = kept_at(130, 1)
    train_tiny(tmp_path / "runs", progress=progress, **HOLD_OUT)
    assert kept == [(0, 2), (1, 0), (1, 2), (2, 0), (2, 2), (3, 0)]


def test_checkpoints_after_short_epochs_take_little_time(
    train_tiny: Train, interrupt: Interrupt, content_of: Content, tmp_path: Path, kept_at: Any
) -> None:
    settings = HOLD_OUT | {"epochs": 6}
    progress, kept = kept_at(5, 1)  # an epoch has 4 steps
    whole = train_tiny(tmp_path / "whole", progress=progress, **settings)
    assert kept == [(1, 0), (4, 0)]  # 1 s in 60, not in 20

    kept.clear()
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training", 15), **settings)
    steps: list[int] = []
    again = train_tiny(
        tmp_path / "runs",
        progress=lambda task, done, *_: steps.append(done) if task == "training" else None,
        **settings,
    )
    assert steps[0] == 5
    assert content_of(again.path) == content_of(whole.path)


def test_a_checkpoint_of_the_first_version_is_resumed(
    train_tiny: Train, whole: Callable[..., Path], interrupt: Interrupt, content_of: Content, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training", 7), **HOLD_OUT)
    (checkpoint,) = (tmp_path / "runs" / "members").glob("*/checkpoint-f0.pt")
    state = load_checkpoint(checkpoint, "cpu")
    assert state is not None
    first = ("epoch", "network", "average", "optimiser", "best", "history")  # what it held
    save_checkpoint(checkpoint, {name: state[name] for name in first})
    assert content_of(train_tiny(tmp_path / "runs", **HOLD_OUT).path) == content_of(whole(**HOLD_OUT))


@pytest.mark.parametrize("change", ["network", "unknown"])
def test_a_checkpoint_of_something_else_is_named(
    train_tiny: Train, interrupt: Interrupt, tmp_path: Path, change: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training", 7), **HOLD_OUT)
    (checkpoint,) = (tmp_path / "runs" / "members").glob("*/checkpoint-f0.pt")
    state = load_checkpoint(checkpoint, "cpu")
    assert state is not None
    save_checkpoint(checkpoint, state | {change: {}})
    with pytest.raises(EnsError, match=r"checkpoint-f0\.pt does not fit this member \(.*\); delete it and repeat"):
        train_tiny(tmp_path / "runs", **HOLD_OUT)


def test_a_changed_environment_is_logged(train_tiny: Train, interrupt: Interrupt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training", 7), **HOLD_OUT)
    (file,) = (tmp_path / "runs" / "members").glob("*/environment.json")
    write_json(file, read_json(file) | {"cpu": "another"})
    log = (train_tiny(tmp_path / "runs", **HOLD_OUT).path / "log.txt").read_text()
    assert "the environment changed since the start, so bits may differ: cpu another -> " in log


# ---------------------------------------------------------------- two processes


def test_a_member_that_another_process_trains_is_left_alone(
    train_tiny: Train, interrupt: Interrupt, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training", 7), **HOLD_OUT)
    (path,) = (tmp_path / "runs" / "members").iterdir()
    before = {file: file.read_bytes() for file in path.iterdir()}
    text = rf"on this machine has worked on {path.name} for .*; wait until it ends"
    with locked(path), pytest.raises(DirectoryLocked, match=text):
        train_tiny(tmp_path / "runs", **HOLD_OUT)
    assert {file: file.read_bytes() for file in path.iterdir()} == before


def test_a_member_that_another_process_finished_meanwhile_is_opened(
    train_tiny: Train, whole: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = whole(**HOLD_OUT)

    @contextmanager
    def locked_late(path: Path) -> Generator[None]:
        shutil.copytree(done, path)  # by the process that had the lock until now
        yield

    monkeypatch.setattr(training, "locked", locked_late)
    ticks: list[str] = []
    member = train_tiny(tmp_path / "runs", progress=lambda task, *_: ticks.append(task), **HOLD_OUT)
    assert member.name == done.name
    assert "training" not in ticks


# ---------------------------------------------------------------- kills and full disks


LINUX = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are read as on Linux")


@LINUX
@pytest.mark.parametrize(
    ("name", "nth"), [("checkpoint-f0.pt", 2), ("status.json", 3), ("history.csv", 2), ("chunk-00000.zst", 1)]
)
def test_a_full_disk_is_one_sentence_and_loses_nothing(
    train_tiny: Train,
    whole: Callable[..., Path],
    content_of: Content,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    nth: int,
) -> None:
    fsync, seen = os.fsync, 0

    def full(handle: int) -> None:
        nonlocal seen
        seen += name in str(Path(f"/proc/self/fd/{handle}").readlink())
        if seen >= nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr(progress_state, "SHARE_OF_TIME", math.inf)  # a checkpoint after every epoch
        with pytest.raises(EnsError, match=rf"cannot write .*{name}: No space left on device; choose another folder"):
            train_tiny(tmp_path / "runs", **HOLD_OUT)
    assert content_of(train_tiny(tmp_path / "runs", **HOLD_OUT).path) == content_of(whole(**HOLD_OUT))


def test_a_resumed_run_trains_only_what_is_left(train_tiny: Train, interrupt: Interrupt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training fold 2 of 3", 6), **FOLDS)
    steps: dict[str, list[int]] = {}
    train_tiny(tmp_path / "runs", progress=lambda task, done, *_: steps.setdefault(task, []).append(done), **FOLDS)
    assert "training fold 1 of 3" not in steps
    assert steps["training fold 2 of 3"] == [5, 6, 7, 8]  # the second epoch again, the first from the checkpoint
    assert steps["training fold 3 of 3"] == list(range(1, 9))


def test_seconds_add_up_over_interruptions(train_tiny: Train, interrupt: Interrupt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training", 7), **HOLD_OUT)
    (status,) = (tmp_path / "runs" / "members").glob("*/status.json")
    first = read_json(status)["seconds"]
    member = train_tiny(tmp_path / "runs", **HOLD_OUT)
    assert member.status["seconds"] > first > 0


def test_what_a_kill_left_does_not_stay(train_tiny: Train, interrupt: Interrupt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training fold 2 of 3", 1), **FOLDS)
    (path,) = (tmp_path / "runs" / "members").iterdir()
    (path / "checkpoint-f0.pt").write_bytes(b"killed after the weights were written, before this was removed")
    (path / ".scores.json.abc.tmp").write_bytes(b"killed while this was written")
    member = train_tiny(tmp_path / "runs", **FOLDS)
    assert [file.name for file in member.path.iterdir() if file.suffix in (".pt", ".tmp")] == []


def test_what_a_kill_left_after_the_end_does_not_stay(train_tiny: Train, tmp_path: Path) -> None:
    path = train_tiny(tmp_path / "runs", epochs=1).path
    files = {file.name for file in path.iterdir()}
    for name in ("history-f0.json", "checkpoint-f0.pt", ".status.json.abc.tmp", LOCK, OWNER):
        (path / name).touch()
    assert {file.name for file in train_tiny(tmp_path / "runs", epochs=1).path.iterdir()} == files


def test_a_damaged_checkpoint_is_named(train_tiny: Train, interrupt: Interrupt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training", 7), **HOLD_OUT)
    (checkpoint,) = (tmp_path / "runs" / "members").glob("*/checkpoint-f0.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-500])
    with pytest.raises(EnsError, match=r"checkpoint-f0\.pt is damaged \(.*\); delete it and repeat the command"):
        train_tiny(tmp_path / "runs", **HOLD_OUT)
    checkpoint.unlink()
    assert train_tiny(tmp_path / "runs", **HOLD_OUT).status["state"] == "complete"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"settings": {"epochs": null}}'])
def test_a_damaged_configuration_is_named_when_resuming(
    train_tiny: Train, interrupt: Interrupt, tmp_path: Path, content: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training", 2), **HOLD_OUT)
    (config,) = (tmp_path / "runs" / "members").glob("*/config.json")
    config.write_text(content)
    with pytest.raises(EnsError, match=r"config\.json"):
        train_tiny(tmp_path / "runs", **HOLD_OUT)


def test_a_configuration_without_epochs_is_damaged(train_tiny: Train, interrupt: Interrupt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training", 2), **HOLD_OUT)
    (config,) = (tmp_path / "runs" / "members").glob("*/config.json")
    content = read_json(config)
    content["settings"]["epochs"] = None
    write_json(config, content)
    with pytest.raises(EnsError, match=r"config\.json is damaged \(no number of epochs\); delete the directory"):
        train_tiny(tmp_path / "runs", **HOLD_OUT)
