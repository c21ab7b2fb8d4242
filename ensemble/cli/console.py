"""Output that all commands share: text and JSON, progress bars, and the printing of errors."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
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
from rich.segment import Segment
from typer.core import TyperGroup

from ensemble.core.errors import EnsError
from ensemble.core.formatting import visible
from ensemble.core.garbage import collect_again
from ensemble.core.progress import Progress
from ensemble.training.distributed.launcher import is_main_process
from ensemble.training.distributed.processes import PeerFailed

PLAIN_WIDTH = 240
AFTER_TABLE = "note: "  # how a note begins that stands below a table, not among the lines of a plan
PLAIN_FIRST, PLAIN_SECONDS = 2.0, 20.0  # seconds to the first line and between lines if the output is no terminal


class SafeConsole(Console):
    """A console that shows names from files as they are: their control characters become visible escapes.

    No text becomes a picture: the label ``a:b:`` is no emoji.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable; only those that rich itself makes may control the terminal."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def never_raise() -> None:
    """Let the standard streams write an escape for a character that the terminal cannot show (ASCII, cp1252)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors of a disk to which the output was redirected."""


def flushed(status: str | int | None, lost: OSError | None = None) -> str | int | None:
    """Write what the standard streams still hold; return the exit status, which is 2 if a stream cannot be written.

    Args:
        status: exit status of the command.
        lost: error that ended the command when it wrote its output.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if lost is not None and stream is sys.stderr:
                stream.write(f"error: cannot write the output: {lost.strerror}; free disk space\n")
            stream.flush()
        except OSError as error:
            with Path(os.devnull).open("w") as nowhere:  # else Python tries again at its end, and prints a traceback
                os.dup2(nowhere.fileno(), stream.fileno())
            if error.errno not in FULL:  # the reader has closed the pipe, as ``head`` does
                status = status or 1
                continue
            status, lost = 2, error
    return status


class Commands(TyperGroup):
    """Group of commands that prints an error as one sentence and exits with code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; print an ``EnsError`` without a traceback."""
        try:
            return super().invoke(ctx)
        except PeerFailed:  # the main process prints the cause
            raise typer.Exit(2) from None
        except EnsError as error:
            SafeConsole(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(error))}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            SafeConsole(stderr=True).print("interrupted; finished work is kept, and the same command resumes it")
            raise typer.Exit(130) from None


class Output:
    """Output of a command: text for people, one JSON document, or the outcome only."""

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.mute = not is_main_process()  # if several processes train one member, only the main one prints
        self.quiet = quiet or self.mute
        self.as_json = as_json
        # Lines are not wrapped in files and pipes; tables have their full width there, unless COLUMNS is set.
        known_width = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
        self.console = SafeConsole(highlight=False, width=None if known_width else PLAIN_WIDTH)
        self.progress_console = SafeConsole(stderr=True, highlight=False)
        self.notes: list[str] = []

    def say(self, text: Any = "") -> None:
        """Print text for people; ``--quiet`` and ``--json`` hide it."""
        if not (self.quiet or self.as_json):
            self.console.print(text, soft_wrap=isinstance(text, str) and not sys.stdout.isatty())

    def note(self, sentence: str, lead: str = "  note    ") -> None:
        """Print a sentence that people should know; with ``--json`` it is in the list ``notes`` of the outcome."""
        self.notes.append(sentence)
        self.say(escape(f"{lead}{sentence}"))

    def result(self, line: str, content: Any) -> None:
        """Print the outcome: a line of text (also with ``--quiet``), or ``content`` with the notes as JSON."""
        if self.mute:
            return
        if self.as_json:
            if isinstance(content, dict):
                content = content | {"notes": content.get("notes", self.notes)}
            sys.stdout.write(json.dumps(content, indent=2, default=str) + "\n")
        else:
            self.console.print(line, markup=False, soft_wrap=not sys.stdout.isatty())

    @contextmanager
    def progress(self) -> Generator[Progress]:
        """Return a progress callback: bars with ETA on a terminal, lines elsewhere (`_PlainProgress`).

        By then a command has loaded its libraries, so garbage is searched for from here on; see `ensemble.cli.main`.
        """
        collect_again()
        if self.quiet or (self.as_json and not sys.stderr.isatty()):
            yield lambda *_: None
        elif not self.progress_console.is_terminal:
            yield _PlainProgress(self.progress_console)
        else:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
            )
            with Bars(*columns, console=self.progress_console) as bars:
                yield _BarProgress(bars)


class _BarProgress:
    """Progress as one bar per task."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, task: str, done: int, total: int, note: str = "", /) -> None:
        if task not in self.tasks or self.bars.tasks[self.tasks[task]].finished:
            self.tasks[task] = self.bars.add_task(task, total=total, note=note)
        self.bars.update(self.tasks[task], completed=done, total=total, note=note)


class _PlainProgress:
    """Progress as lines of text: the first after two seconds of a task, then one every 20 seconds, and its end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.last: dict[str, float] = {}  # when the last line of a task was printed
        self.first: dict[str, tuple[float, int]] = {}

    def __call__(self, task: str, done: int, total: int, note: str = "", /) -> None:
        now = time.monotonic()
        start, done_before = self.first.setdefault(task, (now, done))
        last, ended = self.last.get(task), done >= total
        due = now - start > PLAIN_FIRST if last is None else ended or now - last >= PLAIN_SECONDS
        if due:
            self.last[task] = now
            left = (now - start) / (done - done_before) * (total - done) if done > done_before else None
            self.console.print(f"{task}: {done}/{total}{eta(left)} {note}".rstrip(), markup=False, soft_wrap=True)
        if ended:  # a task of the same name begins anew
            del self.first[task]
            self.last.pop(task, None)


def eta(seconds: float | None) -> str:
    """Return the remaining time as part of a progress line; empty if the task is finished or the time is unknown.

    >>> eta(75.2), eta(0.0), eta(None)
    (', ETA 0:01:15', '', '')
    """
    return f", ETA {timedelta(seconds=round(seconds))}" if seconds else ""
