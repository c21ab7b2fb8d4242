"""Train members on this machine, each in a separate process with its share of the cores."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event, Lock

from ensemble.study.jobs import Job, OnEvent, Outcome, run_jobs
from ensemble.study.member_process import PATIENCE, MemberProcess


def default_jobs() -> int:
    """Return the default number of members at a time: two on a CPU of several cores, one on a GPU.

    Two members at a time, each on half of the cores, finish 1.1 to 1.3 times sooner than one after the other on all
    cores (experiments/results/jobs.csv).
    """
    import torch  # noqa: PLC0415  (two seconds)

    on_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    return 1 if on_gpu or torch.get_num_threads() < 2 else 2


def threads_per_job(jobs: int) -> int | None:
    """Return the threads of each of ``jobs`` processes; None, which means torch's default, for a single process."""
    import torch  # noqa: PLC0415  (two seconds)

    return None if jobs == 1 else max(1, torch.get_num_threads() // jobs)


class LocalExecutor:
    """Train ``jobs`` members at a time.

    Args:
        jobs: processes at a time.
        threads: threads of each process; the default is the number that torch takes by itself.
    """

    def __init__(self, jobs: int = 1, threads: int | None = None) -> None:
        self.jobs = jobs
        self.threads = threads
        self._lock = Lock()
        self._stopped = Event()
        self._running: set[MemberProcess] = set()

    def run(self, jobs: Sequence[Job], on_event: OnEvent, on_outcome: Callable[[Outcome], None]) -> list[Outcome]:
        """Return outcomes in the order of the jobs; see ``Executor``."""
        self._stopped.clear()
        return run_jobs(jobs, self.jobs, lambda job: self._train(job, on_event), self._stop, on_outcome)

    def _train(self, job: Job, on_event: OnEvent) -> Outcome:
        with self._lock:
            if self._stopped.is_set():
                return Outcome(job.label, job.name, "interrupted")
            # A member process whose study was killed ends at its next step; until then it holds the lock.
            process = MemberProcess(replace(job, lock_seconds=PATIENCE), self.threads)
            self._running.add(process)
        outcome = process.listen(on_event)
        with self._lock:
            self._running.discard(process)
        return outcome

    def _stop(self) -> None:
        """Ask every process to save its state and end; kill those that do not."""
        with self._lock:
            self._stopped.set()
            running = list(self._running)
        for process in running:
            process.interrupt()
        deadline = time.monotonic() + PATIENCE
        for process in running:
            process.end_by(deadline)
