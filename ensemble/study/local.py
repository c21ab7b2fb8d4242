"""Members trained on this machine, each in a process of its own with its share of the cores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import IO, Any

from ensemble.study.jobs import Job, OnEvent, Outcome

PATIENCE = 60.0  # seconds that interrupted processes have to keep what they did


def share_of_threads(jobs: int) -> int | None:
    """Threads of each of several processes; None, whatever torch takes, for a single one."""
    import torch  # noqa: PLC0415  (two seconds)

    return None if jobs == 1 else max(1, torch.get_num_threads() // jobs)


class LocalExecutor:
    """Trains ``jobs`` members at a time.

    Args:
        jobs: processes at a time.
        threads: threads of each; what torch takes by itself where None.
    """

    def __init__(self, jobs: int = 1, threads: int | None = None) -> None:
        self.jobs = jobs
        self.threads = threads
        self._lock = Lock()
        self._stopped = Event()
        self._running: set[subprocess.Popen[str]] = set()

    def run(self, jobs: Sequence[Job], on_event: OnEvent, on_outcome: Callable[[Outcome], None]) -> list[Outcome]:
        """Outcomes in the order of the jobs; see ``Executor``."""
        self._stopped.clear()

        def one(job: Job) -> Outcome:
            outcome = self._train(job, on_event)
            on_outcome(outcome)
            return outcome

        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(one, job) for job in jobs]
            try:
                return [future.result() for future in futures]
            except KeyboardInterrupt:
                self._stop()
                raise

    def _train(self, job: Job, on_event: OnEvent) -> Outcome:
        started = time.perf_counter()
        last: dict[str, Any] = {}
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            with self._lock:
                if self._stopped.is_set():
                    return Outcome(job.label, job.name, "interrupted")
                process = _start(job, self.threads, errors)
                self._running.add(process)
            with process:  # closes the pipe and waits
                assert process.stdout is not None
                for line in process.stdout:
                    last = _said(line) or last
                    if "task" in last:
                        on_event(job, last["task"], last["done"], last["total"], last["note"])
            code = process.returncode
            with self._lock:
                self._running.discard(process)
            errors.seek(0)
            told = errors.read().strip().splitlines()
        seconds = time.perf_counter() - started
        if code == 0:
            return Outcome(job.label, last.get("name", job.name), "trained", seconds)
        if self._stopped.is_set() or "interrupted" in last:
            return Outcome(job.label, job.name, "interrupted", seconds)
        return Outcome(job.label, job.name, "failed", seconds, last.get("error") or _crash(code, told))

    def _stop(self) -> None:
        """Ask every process to keep its state and end; those that do not are killed."""
        with self._lock:
            self._stopped.set()
            running = list(self._running)
        for process in running:
            process.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGINT)
        deadline = time.monotonic() + PATIENCE
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def _start(job: Job, threads: int | None, errors: IO[str]) -> subprocess.Popen[str]:
    content = {"arguments": dict(job.arguments), "plugins": job.plugins}
    share = {} if threads is None else {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    # A session of its own: Ctrl-C in the terminal reaches the study alone, which passes it on once.
    return subprocess.Popen(
        [sys.executable, "-m", "ensemble.study.jobs", json.dumps(content)],
        stdout=subprocess.PIPE,
        stderr=errors,
        stdin=subprocess.DEVNULL,
        text=True,
        env=os.environ | share,
        start_new_session=True,
    )


def _said(line: str) -> dict[str, Any]:
    """What a process tells in a line; nothing where a library printed it."""
    try:
        content = json.loads(line)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _crash(code: int, told: Sequence[str]) -> str:
    """One sentence about a process that ended without a word of its own."""
    if code < 0:
        name = signal.Signals(-code).name
        cause = "; the system kills a process like that when memory runs out" if code == -signal.SIGKILL else ""
        return f"the process was killed by {name}{cause}; the same command goes on from the last checkpoint"
    return f"the process crashed with code {code}: {told[-1] if told else 'it left no message'}"
