"""Train the member of one job: the program of the process that ``MemberProcess`` starts."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.core.garbage import uncollected

if TYPE_CHECKING:
    from ensemble.runs.member import Member
    from ensemble.training.plan import Plan

EVENT_SECONDS = 0.25  # minimum time between two events of one task
RETRY_SECONDS = 2.0  # time between two attempts to lock the member


@dataclass
class _EventProgress:
    """Progress callback that writes events as JSON, and stops the training when the parent process is gone."""

    parent: int = field(default_factory=os.getppid)
    last: dict[str, float] = field(default_factory=dict)

    def __call__(self, task: str, done: int, total: int, note: str = "", /) -> None:
        if os.getppid() != self.parent:
            raise KeyboardInterrupt
        now = time.monotonic()
        if done < total and now - self.last.get(task, -EVENT_SECONDS) < EVENT_SECONDS:
            return
        self.last[task] = now
        write_line(task=task, done=done, total=total, note=note)


def write_line(**content: Any) -> None:
    """Write a line of JSON for the process that started this one."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def check_name(name: str, plan: Plan) -> None:
    """Refuse to train another member than the study planned.

    The name of a member is a function of its settings and data, so it differs only if packages, files or threads do.

    Raises:
        EnsError: the plan has another name; the sentence lists what the name depends on here.
    """
    from importlib.metadata import version  # noqa: PLC0415

    from ensemble.core.errors import EnsError  # noqa: PLC0415

    if plan.path.name == name:
        return
    settings = plan.settings
    raise EnsError(
        f"the study planned {name}, but on {platform.node()} it would be {plan.path.name} ({settings.device},"
        f" {settings.precision}, {settings.threads} threads, data {plan.facts.data_hash[:8]}, ens-toolkit"
        f" {version('ens-toolkit')}); install the same version of ens-toolkit there, and do not change the data while"
        " the study runs"
    )


def _train(job: Mapping[str, Any]) -> Member:
    """Train the member; wait up to ``lock_seconds`` for another process that has locked it."""
    with uncollected():
        from ensemble.core.locks import DirectoryLocked  # noqa: PLC0415
        from ensemble.plugins import load_plugin  # noqa: PLC0415
        from ensemble.training.train import train  # noqa: PLC0415

    for plugin in job["plugins"]:
        load_plugin(Path(plugin))
    deadline, progress = time.monotonic() + job["lock_seconds"], _EventProgress()
    while True:
        try:
            return train(**job["arguments"], progress=progress, on_plan=lambda plan: check_name(job["name"], plan))
        except DirectoryLocked:
            if time.monotonic() >= deadline:
                raise
            progress("waiting for another process that trains this member", 0, 1)
            time.sleep(RETRY_SECONDS)


def main(text: str) -> int:
    """Train the member of a job given as JSON; the last line is ``{"name": ...}`` or ``{"error": ...}``."""
    from ensemble.core.errors import EnsError  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.default_int_handler)  # processes behind a shell's "&" ignore SIGINT
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # workers of Ray block it, and children inherit it
    try:
        member = _train(json.loads(text))
    except EnsError as error:
        write_line(error=str(error))
        return 2
    except KeyboardInterrupt:
        write_line(interrupted=True)
        return 130
    write_line(name=member.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
