"""What a node does: it checks that it sees the folder of the study, and trains one member in a process."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from ensemble.core.errors import EnsError
from ensemble.study.jobs import Job, OnEvent, Outcome
from ensemble.study.ray import worker
from ensemble.study.ray.worker import SharedFolder, shared_folder, train_on_node

JOB = Job("one", "unet-ce-s0-000000", {})


class FakeProcess:
    """Reports one step and ends when it is interrupted; in state ``trained`` at once."""

    started: list[FakeProcess]
    state: Any = "interrupted"

    def __init__(self, job: Job, threads: int, folder: Path) -> None:
        self.given = (job, threads, folder)
        self.stopped = Event()
        self.started.append(self)

    def listen(self, on_event: OnEvent) -> Outcome:
        on_event(JOB, "training", 1, 4, "loss 0.5")
        if self.state != "trained":
            assert self.stopped.wait(20)
        return Outcome("one", JOB.name, self.state)

    def interrupt(self) -> None:
        self.stopped.set()

    def end_by(self, deadline: float) -> None:
        assert deadline > 0


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> list[FakeProcess]:
    """The processes that the worker started."""
    FakeProcess.started = []
    monkeypatch.setattr(worker, "MemberProcess", FakeProcess)
    monkeypatch.setattr("platform.node", lambda: "node-7")
    return FakeProcess.started


def test_a_node_that_does_not_see_the_folders_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with shared_folder(Path("runs")) as folder:
        assert folder == SharedFolder(tmp_path, folder.token)
        folder.check()
        elsewhere = SharedFolder(tmp_path / "gone", folder.token)
        with pytest.raises(EnsError, match=rf"the node node-7 of the Ray cluster does not see {tmp_path}/gone;"):
            elsewhere.check()
        other = tmp_path / "another machine"
        shutil.copytree(tmp_path / "runs", other / "runs", ignore=shutil.ignore_patterns(".*"))  # another disk
        with pytest.raises(EnsError, match=r"does not see .*machine/runs; put the runs, the data and the folder in"):
            next(train_on_node(JOB, 2, SharedFolder(tmp_path, other / "runs" / folder.token.name)))
    assert not list((tmp_path / "runs").iterdir())
    assert FakeProcess.started == []


def test_events_name_the_node_and_the_last_update_is_the_outcome(
    processes: list[FakeProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeProcess, "state", "trained")
    with shared_folder(tmp_path) as folder:
        event, outcome = train_on_node(JOB, 2, folder)
    assert event == ("training", 1, 4, "loss 0.5 on node-7")
    assert outcome == Outcome("one", JOB.name, "trained")
    assert processes[0].given == (JOB, 2, folder.working_folder)


def test_a_cancelled_task_stops_its_process_and_waits_for_it(processes: list[FakeProcess], tmp_path: Path) -> None:
    with shared_folder(tmp_path) as folder:
        updates = train_on_node(JOB, 2, folder)
        next(updates)
        with pytest.raises(KeyboardInterrupt):
            updates.throw(KeyboardInterrupt)  # as ray.cancel does
        again = train_on_node(JOB, 2, folder)
        next(again)
        again.close()
    assert [process.stopped.is_set() for process in processes] == [True, True]
