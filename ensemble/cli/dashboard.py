"""Show a study while it runs: a bar for all members, a bar for each in training, a line for each finished one."""

from __future__ import annotations

import re
import time
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from ensemble.cli.console import PLAIN_SECONDS, Output, eta

if TYPE_CHECKING:
    from ensemble.study.jobs import Job, Outcome

STEPS = 1000  # of a member's bar
FOLD = re.compile(r"training fold (\d+) of (\d+)")


class Dashboard:
    """Bars with the time left on a terminal; elsewhere a line for each finished member, and progress every 20 s."""

    def __init__(self, output: Output, members: int) -> None:
        self.output = output
        self.members = members
        self.ended = 0
        self._lock = Lock()
        self._tasks: dict[str, TaskID] = {}
        self._last_line = time.monotonic()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=output.progress_console,
            disable=output.quiet or not output.progress_console.is_terminal,
            speed_estimate_period=600,
        )
        self._all = self._bars.add_task("[bold]study", total=members * STEPS, note=f"0 of {members} members")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def progress(self, task: str, done: int, total: int, note: str = "", /) -> None:
        """Show the progress of planning and combining."""
        with self._lock:
            if task not in self._tasks:
                self._tasks[task] = self._bars.add_task(escape(task), total=total, note="")
            self._bars.update(self._tasks[task], completed=done, total=total, note=escape(note))
            if done >= total:
                self._bars.remove_task(self._tasks.pop(task))

    def event(self, job: Job, task: str, done: int, total: int, note: str) -> None:
        """Show the progress of a member; only its training moves its bar."""
        with self._lock:
            if job.label not in self._tasks:
                self._tasks[job.label] = self._bars.add_task(escape(job.label), total=STEPS, note="")
            completed = STEPS * trained(task, done, total) if task.startswith("training") else None
            self._bars.update(self._tasks[job.label], completed=completed, note=escape(f"{task} {note}".strip()))
            self._update()
            self._print_sometimes(f"{job.label}: {task} {done}/{total} {note}".rstrip())

    def outcome(self, outcome: Outcome) -> None:
        """Replace the bar of a finished member by a line."""
        with self._lock:
            self.ended += 1
            if outcome.label in self._tasks:
                self._bars.remove_task(self._tasks.pop(outcome.label))
            self._update()
            style = {"failed": "[bold red]failed[/]", "found": "[dim]already trained[/]"}.get(
                outcome.state, outcome.state
            )
            took = f" in {outcome.seconds:.0f} s" if outcome.state == "trained" else ""
            error = f": {escape(outcome.error)}" if outcome.error else ""
            if not (self.output.quiet or self.output.as_json):
                self._bars.console.print(f"{style}{took}  {escape(outcome.label)}{error}", soft_wrap=True)

    def _update(self) -> None:
        running = sum(
            task.completed for task in self._bars.tasks if task.id in self._tasks.values() and task.total == STEPS
        )
        note = f"{self.ended} of {self.members} members"
        self._bars.update(self._all, completed=self.ended * STEPS + running, note=note)

    def _print_sometimes(self, line: str) -> None:
        quiet = self.output.quiet or self.output.as_json or self._bars.console.is_terminal
        if not quiet and time.monotonic() - self._last_line > PLAIN_SECONDS:
            self._last_line = time.monotonic()
            left = eta(next(task.time_remaining for task in self._bars.tasks if task.id == self._all))
            self._bars.console.print(f"{self.ended}/{self.members} members{left}; {line}", markup=False, soft_wrap=True)


def trained(task: str, done: int, total: int) -> float:
    """Return the share of a member's training that is done; each fold is an equal part of it.

    >>> trained("training", 1, 4), trained("training fold 2 of 4", 1, 2)
    (0.25, 0.375)
    """
    fold, folds = map(int, found.groups()) if (found := FOLD.match(task)) else (1, 1)
    return (fold - 1 + done / max(1, total)) / folds
