"""Progress callback: the command line draws a bar, callers of the library may pass nothing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Callback that receives the name of a task, how much of it is done, and a short note such as the current loss."""

    def __call__(self, task: str, done: int, total: int, note: str = "", /) -> None:
        """Report that ``done`` of ``total`` steps of ``task`` are finished."""
        ...


def no_progress(task: str, done: int, total: int, note: str = "", /) -> None:
    """Report nothing: the default of every function that takes a progress callback."""
