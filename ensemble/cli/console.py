"""What commands share: the two consoles, progress bars, JSON output and how mistakes are told."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)
from typer.core import TyperGroup

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress
from ensemble.training.distributed.launcher import is_main_process
from ensemble.training.distributed.processes import PeerFailed

PLAIN_WIDTH = 240
PLAIN_SECONDS = 20.0  # without a terminal a long task says this often how far it is


class Commands(TyperGroup):
    """Commands whose user mistakes become one sentence and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an ``EnsError`` is printed, never a traceback."""
        try:
            return super().invoke(ctx)
        except PeerFailed:  # of several processes the first one says why
            raise typer.Exit(2) from None
        except EnsError as error:
            Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(error))}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            Console(stderr=True).print("interrupted; what was finished is kept, the same command goes on from there")
            raise typer.Exit(130) from None


class Output:
    """Where a command prints: text for people, or one JSON document, or next to nothing."""

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.mute = not is_main_process()  # of the processes that train one member the first one speaks
        self.quiet = quiet or self.mute
        self.as_json = as_json
        # Into a file or a pipe nothing is wrapped: tables are as wide as they are.
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
        self.progress_console = Console(stderr=True, highlight=False)

    def say(self, text: Any = "") -> None:
        """Print for people; silent under ``--quiet`` and ``--json``."""
        if not (self.quiet or self.as_json):
            self.console.print(text, soft_wrap=isinstance(text, str) and not sys.stdout.isatty())

    def result(self, line: str, content: Any) -> None:
        """The outcome: a line of text (also under ``--quiet``), or ``content`` as JSON."""
        if self.mute:
            return
        if self.as_json:
            sys.stdout.write(json.dumps(content, indent=2, default=str) + "\n")
        else:
            self.console.print(line, markup=False, soft_wrap=not sys.stdout.isatty())

    @contextmanager
    def progress(self) -> Generator[Progress]:
        """A progress that draws bars with ETA on a terminal, and prints a line now and then elsewhere."""
        if self.quiet or (self.as_json and not sys.stderr.isatty()):
            yield lambda *_: None
        elif not self.progress_console.is_terminal:
            yield _PlainProgress(self.progress_console)
        else:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            with Bars(*columns, console=self.progress_console) as bars:
                yield _BarProgress(bars)


class _BarProgress:
    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, task: str, done: int, total: int, note: str = "", /) -> None:
        if task not in self.tasks or self.bars.tasks[self.tasks[task]].finished:
            self.tasks[task] = self.bars.add_task(task, total=total, note=note)
        self.bars.update(self.tasks[task], completed=done, total=total, note=note)


class _PlainProgress:
    def __init__(self, console: Console) -> None:
        self.console = console
        self.last: dict[str, float] = {}
        self.first: dict[str, tuple[float, int]] = {}

    def __call__(self, task: str, done: int, total: int, note: str = "", /) -> None:
        now = time.monotonic()
        since = now - self.last.setdefault(task, now)
        began, before = self.first.setdefault(task, (now, done))
        if since >= PLAIN_SECONDS or (done >= total and now - self.last[task] > 2):
            self.last[task] = now
            left = (now - began) / (done - before) * (total - done) if done > before else None
            self.console.print(f"{task}: {done}/{total}{eta(left)} {note}".rstrip(), markup=False, soft_wrap=True)


def eta(seconds: float | None) -> str:
    """What a line of progress says of the time that is left; nothing where it is over or not known.

    >>> eta(75.2), eta(0.0), eta(None)
    (', ETA 0:01:15', '', '')
    """
    return f", ETA {timedelta(seconds=round(seconds))}" if seconds else ""
