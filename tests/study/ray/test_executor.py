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
from ensemble.core.files import write_json
from ensemble.core.locks import locked
from ensemble.inference.hardware import torch_threads
from ensemble.runs.member import Member
from ensemble.study import read_recipe, run_study
from ensemble.study.jobs import Job, Outcome, State
from ensemble.study.ray.executor import LOSSES, RayExecutor
from ensemble.study.ray.transfer import FileBundle, pack, state_of, unpack, whole
from ensemble.study.ray.worker import NodeTrainer, WorkerUpdate
from ensemble.training.train import train

MakeMember = Callable[..., Member]


# ---------------------------------------------------------------- what the executor does with workers


class RayError(Exception):
    """A worker is lost."""


class RayTaskError(RayError):
    """The far side raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("a traceback\nof many lines")
        self.cause = cause


class Worker:
    """A far side that gives the answers of a script; an exception is raised, and the last answer is given again."""

    def __init__(self, *script: WorkerUpdate | Exception, place: bool = True) -> None:
        self.script = list(script)
        self.place = place
        self.state: dict[str, bytes] | None = None
        self.threads = 0
        self.stopped = self.killed = False

    def news(self) -> WorkerUpdate | Exception:
        return self.script.pop(0) if len(self.script) > 1 or self.stopped else self.script[0]


class FakeCluster:
    """Stands for ``ray`` and a cluster of one node whose workers are given in the order they are asked for."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, *workers: Worker) -> None:
        self.workers = list(workers)
        self.parts: list[bytes] = []
        self.placed: list[dict[str, Any]] = []

    def is_initialized(self) -> bool:
        return True

    def put(self, part: bytes) -> int:
        self.parts.append(part)
        return len(self.parts) - 1

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": False, "Resources": {"CPU": 99.0}}]

    def remote(self, kind: type) -> FakeCluster:
        assert kind is NodeTrainer
        return self

    def options(self, **placed: Any) -> SimpleNamespace:
        self.placed.append(placed)
        worker = self.workers.pop(0)

        def start(_: Job, threads: int, sent: dict[str, FileBundle], state: FileBundle | None) -> dict[str, str]:
            worker.state = state and {name: stream.read() for name, stream in unpack(state, self.get)}
            worker.threads = threads
            assert sent == {}
            return {}

        def stop() -> None:
            worker.stopped = True

        def later(call: Callable[..., Any]) -> SimpleNamespace:
            return SimpleNamespace(remote=lambda *given: SimpleNamespace(value=call(*given)))

        host = later(lambda: "node-1") if worker.place else SimpleNamespace(remote=lambda: None)
        handle = SimpleNamespace(host=host, start=later(start), news=later(worker.news), stop=later(stop), of=worker)
        return SimpleNamespace(remote=lambda: handle)

    def wait(self, asked: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        time.sleep(0.01)
        return ([], asked) if asked[0] is None else (asked, [])

    def get(self, asked: Any) -> Any:
        if isinstance(asked, int):
            return self.parts[asked]
        if isinstance(asked.value, Exception):
            raise asked.value
        return asked.value

    def kill(self, handle: Any) -> None:
        handle.of.killed = True


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[Outcome]]:
    """``run(cluster, *names, **arguments)``: outcomes of jobs with these names on that cluster."""

    def start(cluster: FakeCluster, *names: str, **told: Any) -> list[Outcome]:
        monkeypatch.setitem(sys.modules, "ray", cluster)
        monkeypatch.setattr("ensemble.study.ray.executor.LOOK", 0.01)
        arguments = {"out": str(tmp_path / "runs"), "device": "cpu", "precision": "fp32"}
        jobs = [Job(f"label of {name}", name, arguments) for name in names]
        ignore: Any = lambda *_: None  # noqa: E731
        executor = RayExecutor("auto", jobs=told.get("jobs", 1), threads=2)
        return executor.run(jobs, told.get("on_event", ignore), told.get("on_outcome", ignore))

    return start


def checkpoint(cluster: FakeCluster, folder: Path, text: str) -> FileBundle:
    """A member in training whose checkpoint says ``text``."""
    member = folder / "in-training"
    member.mkdir(exist_ok=True)
    for name in ("config.json", "status.json"):
        write_json(member / name, {"kind": "member", "format_version": 1, "state": "training"})
    (member / "checkpoint-f0.pt").write_text(text)
    return pack(state_of(member), cluster.put)


def ended(state: State, files: FileBundle | None = None, error: str = "") -> WorkerUpdate:
    return WorkerUpdate((), files, Outcome("", "", state, 0.0, error))


def wait_for(condition: Callable[[], Any], seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def at_home(runs: Path, pattern: str) -> Sequence[Path]:
    return sorted(runs.glob(f"members/*/{pattern}"))


LOST = RayError("The actor died.\n\tip: 10.0.0.7\nThe node has died.\n")


def test_a_lost_workers_member_goes_on_elsewhere_from_its_checkpoint(
    run: Callable[..., list[Outcome]], make_member: MakeMember, tmp_path: Path
) -> None:
    finished = make_member(tmp_path / "node")
    cluster = FakeCluster()
    going = WorkerUpdate((("training", 1, 4, "loss 0.5"),), checkpoint(cluster, tmp_path, "epoch 1"), None)
    workers = [
        Worker(LOST),
        Worker(LOST),
        Worker(going, LOST),  # a checkpoint came: what was lost before no longer counts
        Worker(LOST),
        Worker(ended("trained", pack(whole(finished.path), cluster.put))),
    ]
    cluster.workers = list(workers)
    told: list[tuple[Any, ...]] = []
    (outcome,) = run(cluster, finished.name, on_event=lambda _, *event: told.append(event))
    assert (outcome.state, outcome.error, outcome.name) == ("trained", "", finished.name)
    assert Member.open(tmp_path / "runs" / "members" / finished.name).scores == finished.scores
    assert [worker.state and worker.state["checkpoint-f0.pt"] for worker in workers] == [None] * 3 + [b"epoch 1"] * 2
    assert {worker.threads for worker in workers} == {2}
    assert all(worker.killed for worker in workers)
    assert cluster.placed[0]["num_cpus"] == 2
    assert told[2] == ("training", 1, 4, "loss 0.5 on node-1")
    assert told[0] == ("worker lost, waiting for another", 1, LOSSES, "The node has died.")


def test_a_member_that_loses_every_worker_fails(run: Callable[..., list[Outcome]], tmp_path: Path) -> None:
    (outcome,) = run(FakeCluster(*(Worker(LOST) for _ in range(LOSSES))), "lost")
    assert outcome.state == "failed"
    assert outcome.error == (
        "its worker was lost 3 times, the last time so: The node has died.; the same command goes on from the last"
        " checkpoint"
    )
    assert not (tmp_path / "runs" / "members" / "lost").exists()


def test_failures_are_outcomes_and_the_rest_go_on(
    run: Callable[..., list[Outcome]], make_member: MakeMember, tmp_path: Path
) -> None:
    finished = make_member(tmp_path / "runs")
    cluster = FakeCluster(
        *(Worker(RayTaskError(EnsError("the disk of node-1 is full"))), Worker(RayTaskError(KeyError("name")))),
        *(Worker(ended("failed", error="the loss is no longer finite")), Worker(LOST), Worker(LOST)),
    )
    monitored: list[str] = []
    with locked(tmp_path / "runs" / "members" / "busy"):
        names = ("full", "broken", "diverged", "busy", finished.name)
        outcomes = run(cluster, *names, on_outcome=lambda outcome: monitored.append(outcome.name))
    assert [outcome.state for outcome in outcomes] == ["failed"] * 4 + ["found"]
    full, broken, diverged, busy, _ = (outcome.error for outcome in outcomes)
    assert full == "the disk of node-1 is full"
    assert broken == "KeyError on its node: 'name'"
    assert diverged == "the loss is no longer finite"
    assert "on this machine has worked on busy" in busy
    assert set(monitored) == set(names)


def test_a_stopped_study_brings_checkpoints_home(run: Callable[..., list[Outcome]], tmp_path: Path) -> None:
    cluster = FakeCluster()
    last = ended("interrupted", checkpoint(cluster, tmp_path, "epoch 7"))
    workers = [Worker(ended("failed")), Worker(WorkerUpdate((), None, None), last), Worker(place=False)]
    cluster.workers = list(workers)

    def interrupt(outcome: Outcome) -> None:
        if outcome.state == "failed":
            wait_for(lambda: workers[1].threads)
            raise KeyboardInterrupt
        seen.append(outcome)

    seen: list[Outcome] = []
    with pytest.raises(KeyboardInterrupt):
        run(cluster, "one", "two", "three", jobs=3, on_outcome=interrupt)
    assert [outcome.state for outcome in seen] == ["interrupted"] * 2
    (home,) = at_home(tmp_path / "runs", "checkpoint-f0.pt")
    assert home.read_text() == "epoch 7"
    assert all(worker.killed for worker in workers)


def test_members_that_fit_nowhere_are_told_before_anything_starts(
    run: Callable[..., list[Outcome]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = FakeCluster()
    monkeypatch.setattr(FakeCluster, "nodes", lambda _: [{"Alive": True, "Resources": {"CPU": 1.0}}])
    with pytest.raises(EnsError, match="expected a node with 2 CPUs"):
        run(cluster, "one")
    assert not (tmp_path / "runs").exists()


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
def test_ctrl_c_brings_checkpoints_home(cluster: Any, recipe_file: Path, tmp_path: Path, tiny_npz: Path) -> None:
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    main = ["-c", f"{listen}; from ensemble.cli import main; main()", "study", str(recipe_file), "--threads", "1"]
    where = ["--executor", "ray", "--ray-address", cluster.address, "--data", str(tiny_npz), "--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, *main, *where], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for(lambda: at_home(tmp_path, "checkpoint-f0.pt") or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    out, errors = (text.decode() for text in process.communicate(timeout=120))
    assert process.returncode == 130
    assert "the same command resumes it" in errors
    assert "Ray cluster: 1 node(s) with 1 CPU(s) and 0 GPU(s); members of 1 thread(s)" in out
    assert "raylet" not in out + errors
    (status,) = at_home(tmp_path, "status.json")
    assert json.loads(status.read_text())["state"] == "interrupted"
    assert json.loads((status.parent / "config.json").read_text())["settings"]["data"]["source"] == str(tiny_npz)


@pytest.mark.slow
@pytest.mark.filterwarnings(RAY_WARNINGS)
def test_a_killed_nodes_member_goes_on_elsewhere_bit_by_bit(
    cluster: Any, recipe_file: Path, tmp_path: Path, tiny_npz: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    node = cluster.add_node(num_cpus=1, num_gpus=0)
    recipe = read_recipe(recipe_file, str(tiny_npz))
    results: list[Any] = []

    def study() -> None:
        results.append(run_study(recipe, tmp_path, executor=RayExecutor(cluster.address, threads=1), threads=1))

    thread = threading.Thread(target=study)
    thread.start()
    wait_for(lambda: len(at_home(tmp_path, "checkpoint-f0.pt")) == 2 or not thread.is_alive())
    cluster.remove_node(node, allow_graceful=False)
    thread.join(timeout=600)
    (done,) = results
    assert "raylet" not in capfd.readouterr().out
    assert [outcome.error for outcome in done.members] == [""] * 2
    assert [outcome.state for outcome in (*done.members, *done.ensembles)] == ["trained"] * 3
    resumed = [log.parent for log in at_home(tmp_path, "log.txt") if " resumed" in log.read_text()]
    assert len(resumed) == 1
    (place,) = (row for row, outcome in enumerate(done.members) if outcome.name == resumed[0].name)
    arguments = recipe.entries[place].arguments
    with torch_threads(1):
        local = train(tiny_npz, **arguments, out=tmp_path / "local")
    assert local.name == resumed[0].name
    weights = "weights-f0.safetensors"
    assert (resumed[0] / weights).read_bytes() == (local.path / weights).read_bytes()
    assert Member.open(resumed[0]).scores == local.scores
