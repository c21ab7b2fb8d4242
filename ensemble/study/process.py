"""The process that trains one member, wherever it runs: started, listened to, and how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from ensemble.study.jobs import Job, OnEvent, Outcome

PATIENCE = 60.0  # seconds that an interrupted process has to keep what it did


class MemberProcess:
    """One member in training, in a process of its own that runs ``ensemble.study.jobs``.

    Args:
        job: the member.
        threads: threads it gets; what torch takes by itself where None.
    """

    def __init__(self, job: Job, threads: int | None) -> None:
        self.job = job
        self._started = time.perf_counter()
        self._interrupted = False
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  (see listen)
        content = {"name": job.name, "arguments": dict(job.arguments), "plugins": job.plugins}
        share = {} if threads is None else {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        # A session of its own: Ctrl-C in the terminal reaches the study alone, which passes it on once.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ensemble.study.jobs", json.dumps(content)],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            stdin=subprocess.DEVNULL,
            text=True,
            env=os.environ | share,
            start_new_session=True,
        )

    def listen(self, on_event: OnEvent) -> Outcome:
        """Pass on what it tells until it ends, and say how it ended."""
        job, last = self.job, dict[str, Any]()
        with self._errors, self._process:  # closes the files and waits
            assert self._process.stdout is not None
            for line in self._process.stdout:
                last = _said(line) or last
                if "task" in last:
                    on_event(job, last["task"], last["done"], last["total"], last["note"])
            code = self._process.wait()
            self._errors.seek(0)
            told = self._errors.read().strip().splitlines()
        seconds = time.perf_counter() - self._started
        if code == 0:
            return Outcome(job.label, last.get("name", job.name), "trained", seconds)
        if self._interrupted or "interrupted" in last:
            return Outcome(job.label, job.name, "interrupted", seconds)
        return Outcome(job.label, job.name, "failed", seconds, last.get("error") or _crash(code, told))

    def interrupt(self) -> None:
        """Ask it to keep its state and end."""
        self._interrupted = True
        self._process.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGINT)

    def end_by(self, deadline: float) -> None:
        """Wait until it has ended; kill it at ``deadline``, a time of ``time.monotonic``."""
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()


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
