"""Train members on the nodes of a Ray cluster; a member whose node is lost continues on another one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.runs.layout import CHECKPOINTS, WEIGHTS, members_folder
from ensemble.study.jobs import Job, OnEvent, Outcome, State, run_jobs
from ensemble.study.ray.connect import connect, needs
from ensemble.study.ray.worker import SharedFolder, shared_folder, train_on_node

LOSSES = 3  # workers that a member may lose without a new checkpoint in between
LOCK_SECONDS = 200.0  # a file server keeps the lock of a lost node for about 90 s


class RayExecutor:
    """Train members on a running Ray cluster: one member per GPU, or one per share of the CPUs.

    All nodes must see the data and the folder of the runs under the same path. A member whose worker is lost continues
    on another node from its last checkpoint. Every member is trained with the device, the precision and the threads
    that were planned here, so that it is the planned member.

    Args:
        address: ``HOST:PORT`` of the cluster's head; the default is the environment variable ``RAY_ADDRESS``, else the
            cluster of this machine.
        jobs: members at a time; the default is as many as the cluster has room for.
        threads: threads of each member, which reserves as many CPUs unless it has a GPU; the default is torch's number
            of threads on this machine.

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
        self._stopped = False
        self._running: set[Any] = set()

    def _nodes(self) -> dict[str, dict[str, float]]:
        """Return the resources of every living node, such as ``{"CPU": 8.0, "GPU": 1.0}``, by its id."""
        return {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}

    def describe(self) -> str:
        """Return a line about the cluster."""
        nodes = self._nodes().values()
        cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
        room = f"{len(nodes)} node(s) with {cpus:.0f} CPU(s) and {gpus:.0f} GPU(s)"
        return f"Ray cluster: {room}; members of {self.threads} thread(s)"

    def run(self, jobs: Sequence[Job], on_event: OnEvent, on_outcome: Callable[[Outcome], None]) -> list[Outcome]:
        """Return outcomes in the order of the jobs; see ``Executor``.

        Raises:
            EnsError: no node has room for a member, or a node does not see the folders; nothing was trained then.
        """
        if not jobs:
            return []
        self._stopped = False
        nodes = self._nodes()
        planned = {job.name: needs(job, self.threads, list(nodes.values())) for job in jobs}
        # Ray prints the log of a lost node on standard output, where our caller may expect JSON.
        with redirect_stdout(sys.stderr), shared_folder(Path(jobs[0].arguments["out"])) as folder:
            self._check_nodes([key for key, node in nodes.items() if node.get("CPU") or node.get("GPU")], folder)

            def train(job: Job) -> Outcome:
                return self._train(*planned[job.name], folder, on_event)

            # Ray lets members wait for room, so nodes that join later are used too.
            return run_jobs(jobs, self.jobs or len(jobs), train, self._stop, on_outcome)

    def _check_nodes(self, nodes: Sequence[str], folder: SharedFolder) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415  (an extra)

        check = self._ray.remote(num_cpus=0)(SharedFolder.check)
        places = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
        try:
            self._ray.get([check.options(scheduling_strategy=place).remote(folder) for place in places])
        except self._ray.exceptions.RayTaskError as error:
            raise EnsError(_message(error)) from None

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for updates in self._running:
                self._ray.cancel(updates)

    def _train(self, job: Job, room: Mapping[str, float], folder: SharedFolder, on_event: OnEvent) -> Outcome:
        errors, losses, started = self._ray.exceptions, 0, time.perf_counter()
        member = members_folder(Path(job.arguments["out"])) / job.name

        def ended(state: State, error: str = "") -> Outcome:
            return Outcome(job.label, job.name, state, time.perf_counter() - started, error)

        while True:
            checkpoint = _newest_checkpoint(member)
            try:
                outcome = self._attempt(job, room, folder, on_event)
                return ended("interrupted") if outcome is None else outcome
            except errors.TaskCancelledError:
                return ended("interrupted")
            except errors.RayTaskError as error:  # raised on the node
                return ended("failed", _message(error))
            except errors.RayError as error:
                reason = _reason(error)
            losses = 1 if _newest_checkpoint(member) > checkpoint else losses + 1
            if losses == LOSSES:
                return ended(
                    "failed",
                    f"its worker was lost {LOSSES} times, most recently because: {reason}; the same command continues"
                    " from the last checkpoint",
                )
            on_event(job, "worker lost, waiting for another", losses, LOSSES, reason)
            job = replace(job, lock_seconds=LOCK_SECONDS)

    def _attempt(self, job: Job, room: Mapping[str, float], folder: SharedFolder, on_event: OnEvent) -> Outcome | None:
        """Train on one worker and return the outcome; None means that the study was stopped before."""
        remote = self._ray.remote(train_on_node).options(max_retries=0, scheduling_strategy="SPREAD", **room)
        with self._lock:
            if self._stopped:
                return None
            updates = remote.remote(job, self.threads, folder)
            self._running.add(updates)
        try:
            while True:
                update = self._ray.get(next(updates))
                if isinstance(update, Outcome):
                    return update
                on_event(job, *update)
        finally:
            with self._lock:
                self._running.discard(updates)


def _newest_checkpoint(member: Path) -> int:
    """Return the time of the newest checkpoint or weights of a member; 0 if it has neither."""
    newest = 0
    for file in (*member.glob(CHECKPOINTS), *member.glob(WEIGHTS)):
        with suppress(FileNotFoundError):  # a worker that seems lost may still replace it
            newest = max(newest, file.stat().st_mtime_ns)
    return newest


def _message(error: Any) -> str:
    """Return one sentence about an error that was raised on a node."""
    cause = error.cause
    return str(cause) if isinstance(cause, EnsError) else f"{type(cause).__name__} on its node: {cause}"


def _reason(error: Exception) -> str:
    """Return why a worker was lost: the first sentence of Ray's error."""
    return str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".") or type(error).__name__
