"""What an executor gets and gives: jobs, events and outcomes; and the process that trains one member."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from ensemble.training.plan import Plan

EVERY = 0.25  # seconds between two events of one task

State = Literal["found", "trained", "failed", "interrupted"]


@dataclass(frozen=True)
class Job:
    """One member to train: its label, its directory's name, and the arguments of ``ensemble.train``."""

    label: str
    name: str
    arguments: Mapping[str, Any]
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a job ended; ``error`` is one sentence where it failed."""

    label: str
    name: str
    state: State
    seconds: float = 0.0
    error: str = ""


OnEvent = Callable[[Job, str, int, int, str], None]
"""Told what a job is at: the job, the task, how much is done of how much, and a note; maybe from another thread."""


class Executor(Protocol):
    """Trains jobs somewhere, each on its own: one that fails or crashes is an outcome, never an exception."""

    def run(self, jobs: Sequence[Job], on_event: OnEvent, on_outcome: Callable[[Outcome], None]) -> list[Outcome]:
        """Outcomes in the order of the jobs. Ctrl-C stops all jobs where they can be resumed, and is raised again."""
        ...


def run_jobs(
    jobs: Sequence[Job],
    at_once: int,
    train: Callable[[Job], Outcome],
    stop: Callable[[], None],
    on_outcome: Callable[[Outcome], None],
) -> list[Outcome]:
    """What executors share: ``train`` in ``at_once`` threads; Ctrl-C calls ``stop`` and waits for what is under way."""

    def one(job: Job) -> Outcome:
        outcome = train(job)
        on_outcome(outcome)
        return outcome

    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(one, job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            stop()
            raise


@dataclass
class _EventProgress:
    """A progress that writes lines of JSON, and stops the training once nobody reads them any more."""

    parent: int = field(default_factory=os.getppid)
    last: dict[str, float] = field(default_factory=dict)

    def __call__(self, task: str, done: int, total: int, note: str = "", /) -> None:
        if os.getppid() != self.parent:
            raise KeyboardInterrupt
        now = time.monotonic()
        if done < total and now - self.last.get(task, -EVERY) < EVERY:
            return
        self.last[task] = now
        tell(task=task, done=done, total=total, note=note)


def tell(**content: Any) -> None:
    """Write a line of JSON for the process that started this one."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def check_name(name: str, plan: Plan) -> None:
    """Refuse to train another member than the study planned.

    A name is a function of the settings and the data, so it differs only where packages, files or threads do.

    Raises:
        EnsError: the plan has another name; the sentence says what it was made of here.
    """
    from importlib.metadata import version  # noqa: PLC0415

    from ensemble.core.errors import EnsError  # noqa: PLC0415

    if plan.path.name == name:
        return
    made = plan.settings
    raise EnsError(
        f"the study planned {name}, but on {platform.node()} it would be {plan.path.name} ({made.device},"
        f" {made.precision}, {made.threads} threads, data {plan.facts.data_hash[:8]}, ens-toolkit"
        f" {version('ens-toolkit')}); install the same version of ens-toolkit there, and leave the data as they are"
    )


def main(text: str) -> int:
    """Train the member of a job given as JSON; the last line is ``{"name": ...}`` or ``{"error": ...}``."""
    from ensemble.core.errors import EnsError  # noqa: PLC0415
    from ensemble.plugins import load_plugin  # noqa: PLC0415
    from ensemble.training.train import train  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" makes processes deaf to it
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray's workers pass on that they block it
    job = json.loads(text)
    try:
        for plugin in job["plugins"]:
            load_plugin(Path(plugin))
        member = train(
            **job["arguments"], progress=_EventProgress(), on_plan=lambda plan: check_name(job["name"], plan)
        )
    except EnsError as error:
        tell(error=str(error))
        return 2
    except KeyboardInterrupt:
        tell(interrupted=True)
        return 130
    tell(name=member.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
