"""How long work tells that it advances; the command line draws it, libraries pass nothing."""

from __future__ import annotations

from typing import Protocol


class Tick(Protocol):
    """Called with the name of a task, how much of it is done, and a short note such as the current loss."""

    def __call__(self, task: str, done: int, total: int, note: str = "", /) -> None:
        """Tell the progress."""
        ...


def silent(task: str, done: int, total: int, note: str = "", /) -> None:
    """Say nothing."""
