"""Interrupting a training run as Ctrl-C does."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from ensemble.core.progress import Progress


@pytest.fixture
def interrupt() -> Callable[[str, int], Progress]:
    """``interrupt("training", 7)`` is a progress that presses Ctrl-C when that task reports 7 done."""

    def at(task: str, done: int) -> Progress:
        def progress(name: str, now: int, total: int, note: str = "", /) -> None:
            if name == task and now == done:
                raise KeyboardInterrupt

        return progress

    return at


@pytest.fixture
def content_of() -> Callable[[Path], dict[str, object]]:
    """Everything in a member's directory that must not depend on time or interruptions, by relative path."""
    told = ("status.json", "log.txt", "environment.json", "history.csv")

    def read(path: Path) -> dict[str, object]:
        found: dict[str, object] = {
            file.relative_to(path).as_posix(): file.read_bytes()
            for file in path.rglob("*")
            if file.is_file() and file.name not in told
        }
        with (path / "history.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        found["history.csv"] = [
            {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")} for row in rows
        ]
        return found

    return read
