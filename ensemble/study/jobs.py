"""Describe what an executor receives and returns: jobs, events and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

State = Literal["found", "trained", "failed", "interrupted"]


@dataclass(frozen=True)
class Job:
    """One member to train.

    Attributes:
        label: label of the member in the recipe.
        name: name of the member's directory.
        arguments: arguments of ``ensemble.train``.
        plugins: files that register components of the user.
        lock_seconds: how long to wait for another process to release the member, such as one of a killed study.
    """

    label: str
    name: str
    arguments: Mapping[str, Any]
    plugins: tuple[str, ...] = ()
    lock_seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a job ended; ``error`` is one sentence if it failed, else empty."""

    label: str
    name: str
    state: State
    seconds: float = 0.0
    error: str = ""


OnEvent = Callable[[Job, str, int, int, str], None]
"""Receives the progress of a job: the job, the task, the finished and the total steps of the task, and a note. It may
be called from another thread."""


class Executor(Protocol):
    """Train jobs independently of each other: a job that fails or crashes is an outcome, not an error."""

    def run(self, jobs: Sequence[Job], on_event: OnEvent, on_outcome: Callable[[Outcome], None]) -> list[Outcome]:
        """Return outcomes in the order of the jobs.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when all jobs have stopped; the same command resumes them.
        """
        ...


def run_jobs(
    jobs: Sequence[Job],
    at_once: int,
    train: Callable[[Job], Outcome],
    stop: Callable[[], None],
    on_outcome: Callable[[Outcome], None],
) -> list[Outcome]:
    """Call ``train`` for every job in ``at_once`` threads; on Ctrl-C call ``stop`` and wait for the running jobs."""

    def run_job(job: Job) -> Outcome:
        outcome = train(job)
        on_outcome(outcome)
        return outcome

    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(run_job, job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            stop()
            raise
