"""Members trained on the nodes of a Ray cluster: data go there once, every checkpoint comes back at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.locks import locked
from ensemble.runs.status import run_state
from ensemble.study.jobs import Job, OnEvent, Outcome, run_jobs
from ensemble.study.process import PATIENCE
from ensemble.study.ray.connect import connect, needs, nodes_of
from ensemble.study.ray.job_paths import paths_of
from ensemble.study.ray.receive import receive_member
from ensemble.study.ray.transfer import FileBundle, files_of, pack, state_of
from ensemble.study.ray.worker import NodeTrainer, WorkerUpdate

LOSSES = 3  # workers that a member may lose without a new checkpoint in between
LOOK = 0.5  # seconds between two looks at whether the study was stopped


class _Stopped(Exception):
    """The study was stopped before this job ended."""


@dataclass
class _Task:
    """A job on its way: where its member is at home, and how it fares."""

    job: Job
    on_event: OnEvent
    home: Path
    started: float | None = None
    losses: int = 0

    def ended(self, state: Any, error: str = "") -> Outcome:
        seconds = 0.0 if self.started is None else time.perf_counter() - self.started
        return Outcome(self.job.label, self.job.name, state, seconds, error)


class RayExecutor:
    """Trains members on a Ray cluster that runs already: one per GPU for members on GPUs, else one per core share.

    A member whose worker is lost goes on elsewhere from its last checkpoint. Every member is trained with the device,
    the precision and the threads that were planned here, so that it is the one that was planned.

    Args:
        address: ``HOST:PORT`` of the cluster's head; the environment variable ``RAY_ADDRESS`` or the cluster of this
            machine where None.
        jobs: members at a time; as many as the cluster has room for where None.
        threads: threads of each member, which reserves as many CPUs unless it has a GPU; as many as torch takes on
            this machine where None.

    Raises:
        EnsError: Ray is not installed, or there is no such cluster.

    Reference:
        Moritz et al., Ray: A distributed framework for emerging AI applications, OSDI 2018.

    >>> cluster = RayExecutor("10.0.0.1:6379", threads=4)  # doctest: +SKIP
    >>> run_study(read_recipe("grid", "mars.npz"), executor=cluster, threads=4)  # doctest: +SKIP
    """

    def __init__(self, address: str | None = None, jobs: int | None = None, threads: int | None = None) -> None:
        import torch  # noqa: PLC0415  (two seconds)

        self.jobs = jobs
        self.threads = threads or torch.get_num_threads()
        self._ray = connect(address)
        self._lock = Lock()
        self._stopped = Event()
        self._give_up = 0.0
        self._parcels: dict[str, FileBundle] = {}

    def describe(self) -> str:
        """The cluster in a line."""
        nodes = nodes_of(self._ray)
        cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
        room = f"{len(nodes)} node(s) with {cpus:.0f} CPU(s) and {gpus:.0f} GPU(s)"
        return f"Ray cluster: {room}; members of {self.threads} thread(s)"

    def run(self, jobs: Sequence[Job], on_event: OnEvent, on_outcome: Callable[[Outcome], None]) -> list[Outcome]:
        """Outcomes in the order of the jobs; see ``Executor``.

        Raises:
            EnsError: members that no node of the cluster can take; nothing was trained then.
        """
        self._stopped.clear()
        self._parcels.clear()
        nodes = nodes_of(self._ray)
        room = {job.name: needs(job, self.threads, nodes) for job in jobs}

        def train(job: Job) -> Outcome:
            pinned, wanted = room[job.name]
            return self._train(_Task(pinned, on_event, Path(job.arguments["out"]) / "members" / job.name), wanted)

        # Ray itself lets members wait for room, so that nodes which join later are used too.
        return run_jobs(jobs, self.jobs or max(1, len(jobs)), train, self._stop, on_outcome)

    def _stop(self) -> None:
        self._give_up = time.monotonic() + PATIENCE
        self._stopped.set()

    def _train(self, task: _Task, wanted: Mapping[str, float]) -> Outcome:
        errors = self._ray.exceptions
        while True:
            try:
                return self._attempt(task, wanted)
            except _Stopped:
                return task.ended("interrupted")
            except errors.RayTaskError as error:  # raised by the far side
                cause = error.cause
                text = str(cause) if isinstance(cause, EnsError) else f"{type(cause).__name__} on its node: {cause}"
                return task.ended("failed", text)
            except errors.RayError as error:
                task.losses += 1
                why = _reason(error)
                if task.losses == LOSSES:
                    return task.ended(
                        "failed",
                        f"its worker was lost {LOSSES} times, the last time so: {why}; the same command goes on from"
                        " the last checkpoint",
                    )
                task.on_event(task.job, "worker lost, waiting for another", task.losses, LOSSES, why)
            except EnsError as error:
                return task.ended("failed", str(error))
            except OSError as error:
                return task.ended("failed", f"cannot read {error.filename or 'its files'}: {error.strerror or error}")

    def _attempt(self, task: _Task, wanted: Mapping[str, float]) -> Outcome:
        """Train on one worker until the member has ended; errors of Ray mean that the worker is lost."""
        sent = {path: self._sent(path, task) for path in paths_of(task.job)}
        placed = {"max_restarts": 0, "scheduling_strategy": "SPREAD", **wanted}
        trainer = self._ray.remote(NodeTrainer).options(**placed).remote()
        try:
            host = self._answer(trainer.host.remote())
            with locked(task.home):
                if task.started is None:
                    task.started = time.perf_counter()
                if _state(task.home) == "complete":  # by another process, since this study was planned
                    return task.ended("found")
                state = None
                if (task.home / "config.json").is_file():
                    state = pack(state_of(task.home), self._ray.put)
                names = self._answer(trainer.start.remote(task.job, self.threads, sent, state))
                return self._follow(task, trainer, host, names)
        finally:
            self._ray.kill(trainer)
            with suppress(OSError):  # nothing came home
                task.home.rmdir()

    def _follow(self, task: _Task, trainer: Any, host: str, names: Mapping[str, str]) -> Outcome:
        """Pass on events and take checkpoints home until the member has ended."""
        asked = False
        while True:
            if self._stopped.is_set() and not asked:
                trainer.stop.remote()
                asked = True
            news: WorkerUpdate = self._answer(trainer.news.remote(), patient=True)
            for name, done, total, note in news.events:
                task.on_event(task.job, name, done, total, f"{note} on {host}".strip())
            if news.files is not None:
                receive_member(news.files, task.home, self._ray.get, names)
                task.losses = 0
            if (outcome := news.outcome) is not None:
                return task.ended(outcome.state, outcome.error)

    def _answer(self, asked: Any, *, patient: bool = False) -> Any:
        """The answer of the far side; a stopped study waits for it only where there is something to bring home."""
        while True:
            ready, _ = self._ray.wait([asked], timeout=LOOK)
            if ready:
                return self._ray.get(ready[0])
            if self._stopped.is_set() and not (patient and time.monotonic() < self._give_up):
                raise _Stopped

    def _sent(self, path: str, task: _Task) -> FileBundle:
        """A file or folder in the cluster's store: put there once, for all members and all nodes."""
        with self._lock:
            if path not in self._parcels:
                task.on_event(task.job, f"sending {Path(path).name}", 0, 1, "")
                self._parcels[path] = pack(files_of(Path(path).expanduser()), self._ray.put)
            return self._parcels[path]


def _state(member: Path) -> str | None:
    return run_state(member)


def _reason(error: Exception) -> str:
    """The last line of what Ray says about a lost worker, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
