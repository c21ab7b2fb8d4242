"""Studies on a Ray cluster: lost workers, failures and Ctrl-C, and a real cluster of two nodes that loses one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ensemble.core.errors import EnsError
from ensemble.inference.hardware import torch_threads
from ensemble.runs.member import Member
from ensemble.study import read_recipe, run_study
from ensemble.study.jobs import Job, Outcome, State
from ensemble.study.ray.executor import LOCK_SECONDS, LOSSES, RayExecutor
from ensemble.study.ray.worker import SharedFolder, train_on_node
from ensemble.training.train import train

# ---------------------------------------------------------------- what the executor does with workers


class RayError(Exception):
    """A worker is lost."""


class TaskCancelledError(RayError):
    """The task was cancelled."""


class RayTaskError(RayError):
    """The node raised an error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("a traceback\nof many lines")
        self.cause = cause


class Worker:
    """A task that follows a script: yields updates, raises exceptions, calls functions; then it waits to be stopped."""

    def __init__(self, *script: Any, name: str = "") -> None:
        self.script = list(script)
        self.name = name  # of the job that it is for; empty if it takes the first that comes
        self.job: Job | None = None
        self.cancelled = threading.Event()

    def __next__(self) -> Any:
        while True:
            step = self.script.pop(0) if self.script else None
            if step is None:
                self.cancelled.wait(20)
                return TaskCancelledError()
            if not callable(step):
                return step
            step()


class FakeCluster:
    """Stands for ``ray`` and a cluster whose workers are given in the order in which tasks start."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError, TaskCancelledError=TaskCancelledError)

    def __init__(self, *workers: Worker) -> None:
        self.workers = list(workers)
        self.placed: list[dict[str, Any]] = []
        self.checked: list[str] = []
        self.blind: Sequence[str] = ()

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        cpus = {"worker": (True, 4.0), "dead": (False, 99.0), "head": (True, 0.0)}
        return [{"NodeID": key, "Alive": alive, "Resources": {"CPU": cpu}} for key, (alive, cpu) in cpus.items()]

    def remote(self, *task: Any, **_: Any) -> Any:
        if not task:
            return lambda check: SimpleNamespace(
                options=lambda **place: self._check(check, place["scheduling_strategy"])
            )
        assert task[0] is train_on_node
        return SimpleNamespace(options=self._options)

    def _check(self, check: Callable[[SharedFolder], None], node: str) -> SimpleNamespace:
        def run(folder: SharedFolder) -> Any:
            self.checked.append(node)
            check(folder)
            return RayTaskError(EnsError(f"{node} does not see it")) if node in self.blind else None

        return SimpleNamespace(remote=run)

    def _options(self, **placed: Any) -> SimpleNamespace:
        self.placed.append(placed)

        def start(job: Job, threads: int, folder: SharedFolder) -> Worker:
            worker = next(worker for worker in self.workers if worker.name in ("", job.name))
            self.workers.remove(worker)
            folder.check()
            assert threads == 2
            worker.job = job
            return worker

        return SimpleNamespace(remote=start)

    def get(self, value: Any) -> Any:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Exception):
                raise one
        return value

    def cancel(self, worker: Worker) -> None:
        worker.cancelled.set()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[Outcome]]:
    """``run(cluster, *names, **arguments)``: outcomes of jobs with these names on that cluster."""

    def start(cluster: FakeCluster, *names: str, **given: Any) -> list[Outcome]:
        strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
        monkeypatch.setitem(sys.modules, "ray", cluster)
        monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
        arguments = {"out": str(tmp_path / "runs"), "device": "cpu", "precision": "fp32"}
        jobs = [Job(f"label of {name}", name, arguments) for name in names]
        ignore: Any = lambda *_: None  # noqa: E731
        executor = RayExecutor("auto", jobs=given.get("jobs", 1), threads=2)
        return executor.run(jobs, given.get("on_event", ignore), given.get("on_outcome", ignore))

    return start


def ended(state: State, error: str = "") -> Outcome:
    return Outcome("", "", state, 0.0, error)


def wait_for(condition: Callable[[], Any], seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def members_with(runs: Path, pattern: str) -> Sequence[Path]:
    return sorted(runs.glob(f"members/*/{pattern}"))


LOST = RayError("Task failed because the node is dead. Node IP: 10.0.0.7.\nMore lines.\n")


def test_a_member_continues_on_another_worker_when_its_worker_is_lost(
    run: Callable[..., list[Outcome]], tmp_path: Path
) -> None:
    member = tmp_path / "runs" / "members" / "one"

    def save() -> None:
        member.mkdir(parents=True)
        (member / "checkpoint-f0.pt").touch()

    workers = [
        Worker(LOST),
        Worker(LOST),
        Worker(("training", 1, 4, "loss 0.5"), save, LOST),  # after a checkpoint the count of losses starts again
        Worker(LOST),
        Worker(ended("trained")),
    ]
    cluster, events = FakeCluster(*workers), list[tuple[Any, ...]]()
    (outcome,) = run(cluster, "one", on_event=lambda _, *event: events.append(event))
    assert (outcome.state, outcome.error) == ("trained", "")
    assert [worker.job and worker.job.lock_seconds for worker in workers] == [0, *[LOCK_SECONDS] * 4]
    assert cluster.placed[0] == {"max_retries": 0, "scheduling_strategy": "SPREAD", "num_cpus": 2, "num_gpus": 0}
    lost = [("worker lost, waiting for another", n, LOSSES, "Task failed because the node is dead") for n in (1, 2)]
    assert events == [*lost, ("training", 1, 4, "loss 0.5"), *lost]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["members"]  # the token is gone


def test_a_member_that_loses_every_worker_fails(run: Callable[..., list[Outcome]]) -> None:
    (outcome,) = run(FakeCluster(*(Worker(LOST) for _ in range(LOSSES))), "lost")
    assert outcome.state == "failed"
    assert outcome.error == (
        "its worker was lost 3 times, most recently because: Task failed because the node is dead; the same command"
        " continues from the last checkpoint"
    )


def test_failures_are_outcomes_and_the_other_members_continue(run: Callable[..., list[Outcome]]) -> None:
    cluster = FakeCluster(
        *(Worker(RayTaskError(EnsError("the disk of node-1 is full"))), Worker(RayTaskError(KeyError("name")))),
        *(Worker(ended("failed", error="the loss is no longer finite")), Worker(ended("trained"))),
    )
    monitored: list[str] = []
    names = ("full", "broken", "diverged", "fine")
    outcomes = run(cluster, *names, on_outcome=lambda outcome: monitored.append(outcome.error))
    assert [outcome.state for outcome in outcomes] == ["failed"] * 3 + ["trained"]
    errors = [outcome.error for outcome in outcomes]
    assert errors == ["the disk of node-1 is full", "KeyError on its node: 'name'", "the loss is no longer finite", ""]
    assert monitored == errors


def test_a_stopped_study_cancels_what_runs_and_starts_nothing(run: Callable[..., list[Outcome]]) -> None:
    workers = [Worker(ended("failed"), name="one"), Worker(name="two"), Worker()]

    def interrupt(outcome: Outcome) -> None:
        if outcome.state == "failed":
            wait_for(lambda: workers[1].job)
            raise KeyboardInterrupt
        outcomes.append(outcome)

    outcomes: list[Outcome] = []
    with pytest.raises(KeyboardInterrupt):
        run(FakeCluster(*workers), "one", "two", "three", "four", jobs=2, on_outcome=interrupt)
    assert {outcome.state for outcome in outcomes} == {"interrupted"}
    assert workers[1].cancelled.is_set()


def test_a_worker_lost_while_the_study_stops_is_not_replaced(run: Callable[..., list[Outcome]]) -> None:
    stopping = Worker(name="two")
    stopping.script = [lambda: stopping.cancelled.wait(20), LOST]

    def interrupt(outcome: Outcome) -> None:
        if outcome.state == "failed":
            wait_for(lambda: stopping.job)
            raise KeyboardInterrupt
        outcomes.append(outcome)

    outcomes: list[Outcome] = []
    with pytest.raises(KeyboardInterrupt):
        run(FakeCluster(Worker(ended("failed"), name="one"), stopping), "one", "two", jobs=2, on_outcome=interrupt)
    assert [outcome.state for outcome in outcomes] == ["interrupted"]


def test_members_without_room_are_refused_before_anything_starts(
    run: Callable[..., list[Outcome]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nodes = [{"NodeID": "small", "Alive": True, "Resources": {"CPU": 1.0}}]
    monkeypatch.setattr(FakeCluster, "nodes", lambda _: nodes)
    with pytest.raises(EnsError, match="expected a node with 2 CPUs"):
        run(FakeCluster(), "one")
    assert not (tmp_path / "runs").exists()


def test_every_node_that_trains_must_see_the_folder(run: Callable[..., list[Outcome]]) -> None:
    cluster = FakeCluster(Worker(ended("trained")))
    run(cluster, "one")
    assert cluster.checked == ["worker"]  # no member can be on the head, which has no CPUs
    cluster.blind = ["worker"]
    with pytest.raises(EnsError, match="worker does not see it"):
        run(cluster, "one")
    assert run(cluster) == []


# ---------------------------------------------------------------- a real cluster

TEXT = """
name = "cluster"
[defaults]
arch = "unet-baseline(filters=2, depth=1)"
loss = "ce"
epochs = 120
batch_size = 4
lr = 1e-2
device = "cpu"
precision = "fp32"
deterministic = true
[[grid]]
seed = [0, 1]
[[ensembles]]
method = "average"
"""
RAY_WARNINGS = "ignore::ResourceWarning"  # 2026-11: Ray 2.60 leaves the processes of a node it killed to the collector


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster on this machine whose head has one CPU."""
    utils = pytest.importorskip("ray.cluster_utils")
    quick = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    head = {"num_cpus": 1, "num_gpus": 0, "_system_config": quick}
    made = utils.Cluster(initialize_head=True, head_node_args=head)
    yield made
    sys.modules["ray"].shutdown()
    made.shutdown()


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """Two members of many short epochs."""
    path = tmp_path / "cluster.toml"
    path.write_text(TEXT)
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings(RAY_WARNINGS)
def test_ctrl_c_leaves_a_member_to_resume(cluster: Any, recipe_file: Path, tmp_path: Path, tiny_npz: Path) -> None:
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    main = ["-c", f"{listen}; from ensemble.cli import main; main()", "study", str(recipe_file), "--threads", "1"]
    where = ["--executor", "ray", "--ray-address", cluster.address, "--data", str(tiny_npz), "--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, *main, *where], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for(lambda: members_with(tmp_path, "checkpoint-f0.pt") or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    out, errors = (text.decode() for text in process.communicate(timeout=120))
    assert process.returncode == 130
    assert "the same command resumes it" in errors
    assert "Ray cluster: 1 node(s) with 1 CPU(s) and 0 GPU(s); members of 1 thread(s)" in out
    assert "raylet" not in out + errors
    (status,) = members_with(tmp_path, "status.json")
    assert json.loads(status.read_text())["state"] == "interrupted"
    assert json.loads((status.parent / "config.json").read_text())["settings"]["data"]["source"] == str(tiny_npz)


@pytest.mark.slow
@pytest.mark.filterwarnings(RAY_WARNINGS)
def test_a_member_of_a_killed_node_continues_elsewhere_bit_by_bit(
    cluster: Any, recipe_file: Path, tmp_path: Path, tiny_npz: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    node = cluster.add_node(num_cpus=1, num_gpus=0)
    recipe = read_recipe(recipe_file, str(tiny_npz))
    results: list[Any] = []

    def study() -> None:
        results.append(run_study(recipe, tmp_path, executor=RayExecutor(cluster.address, threads=1), threads=1))

    thread = threading.Thread(target=study)
    thread.start()
    wait_for(lambda: len(members_with(tmp_path, "checkpoint-f0.pt")) == 2 or not thread.is_alive())
    cluster.remove_node(node, allow_graceful=False)
    thread.join(timeout=600)
    (done,) = results
    assert "raylet" not in capfd.readouterr().out
    assert [outcome.error for outcome in done.members] == [""] * 2
    assert [outcome.state for outcome in (*done.members, *done.ensembles)] == ["trained"] * 3
    resumed = [log.parent for log in members_with(tmp_path, "log.txt") if " resumed" in log.read_text()]
    assert len(resumed) == 1
    (place,) = (row for row, outcome in enumerate(done.members) if outcome.name == resumed[0].name)
    arguments = recipe.entries[place].arguments
    with torch_threads(1):
        local = train(tiny_npz, **arguments, out=tmp_path / "local")
    assert local.name == resumed[0].name
    weights = "weights-f0.safetensors"
    assert (resumed[0] / weights).read_bytes() == (local.path / weights).read_bytes()
    assert Member.open(resumed[0]).scores == local.scores
