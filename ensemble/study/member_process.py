"""Start the process that trains one member, pass on its events, and find out how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ensemble.study.jobs import Job, OnEvent, Outcome

PATIENCE = 60.0  # seconds that an interrupted process has to save its state


class MemberProcess:
    """A process that trains one member: it runs ``ensemble.study.member_main``.

    Args:
        job: the member.
        threads: threads of the process; the default is the number that torch takes by itself.
        folder: working folder of the process; the default is that of this one.
    """

    def __init__(self, job: Job, threads: int | None, folder: Path | None = None) -> None:
        self.job = job
        self._started = time.perf_counter()
        self._interrupted = False
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  (see listen)
        thread_limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        # -P: a numpy.py in the working folder is not imported. The new session keeps the terminal's Ctrl-C from this
        # process; the study receives it and passes it on once.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ensemble.study.member_main", json.dumps(asdict(job))],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            stdin=subprocess.DEVNULL,
            text=True,
            env=os.environ | thread_limits,
            cwd=folder,
            start_new_session=True,
        )

    def listen(self, on_event: OnEvent) -> Outcome:
        """Pass on the events of the process until it ends, and return how it ended."""
        job, last = self.job, dict[str, Any]()
        with self._errors, self._process:  # closes the files and waits
            assert self._process.stdout is not None
            for line in self._process.stdout:
                last = _parsed(line) or last
                if "task" in last:
                    on_event(job, last["task"], last["done"], last["total"], last["note"])
            code = self._process.wait()
            self._errors.seek(0)
            errors = self._errors.read().strip().splitlines()
        seconds = time.perf_counter() - self._started
        if code == 0:
            return Outcome(job.label, last.get("name", job.name), "trained", seconds)
        if self._interrupted or "interrupted" in last:
            return Outcome(job.label, job.name, "interrupted", seconds)
        return Outcome(job.label, job.name, "failed", seconds, last.get("error") or _crash(code, errors))

    def interrupt(self) -> None:
        """Ask the process to save its state and end."""
        self._interrupted = True
        self._process.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGINT)

    def end_by(self, deadline: float) -> None:
        """Wait until the process has ended; kill it at ``deadline``, a time of ``time.monotonic``."""
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()


def _parsed(line: str) -> dict[str, Any]:
    """Return the content of a line of JSON; empty if a library printed the line."""
    try:
        content = json.loads(line)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _crash(code: int, errors: Sequence[str]) -> str:
    """Return one sentence about a process that ended without an error message of ours."""
    if code < 0:
        name = signal.Signals(-code).name
        cause = "; the system kills a process with it when memory runs out" if code == -signal.SIGKILL else ""
        return f"the process was killed by {name}{cause}; the same command continues from the last checkpoint"
    return f"the process crashed with code {code}: {errors[-1] if errors else 'it left no message'}"
