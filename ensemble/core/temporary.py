"""Temporary files that stand next to their target; the next writer removes those of killed processes."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def temporary_file(path: Path) -> Generator[tuple[int, Path]]:
    """Create a temporary file in the folder of ``path``; give its open handle and its name; remove it at the end.

    The file is locked until the block ends. The operating system releases the lock when the process ends, however it
    ends, so a temporary file that can be locked has lost its writer: such files of the same target are removed first.
    Where a file system has no locks, they stay. Windows needs no lock, because it does not delete open files.
    """
    for leftover in _left_behind(path.parent.absolute()):
        if re.fullmatch(re.escape(f".{path.name}.") + r"\w{8}\.tmp", leftover.name):
            with suppress(OSError):
                _remove_unused(leftover)
    handle, name = _create_locked(path)
    with ExitStack() as held:
        if os.name == "posix":
            held.callback(os.close, os.dup(handle))  # the copy holds the lock when the handle is closed
        held.callback(Path(name).unlink, missing_ok=True)
        yield handle, Path(name)


@cache
def _left_behind(folder: Path) -> tuple[Path, ...]:
    """Return the hidden temporary files in a folder when this process first writes to it.

    A folder is listed once, because listing it for each of thousands of files would take longer than writing them.
    """
    return tuple(folder.glob(".*.tmp"))


def _create_locked(path: Path) -> tuple[int, str]:
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        if sys.platform == "win32":
            return handle, name
        with suppress(OSError):  # the file system has no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, name
        os.close(handle)  # another process removed the file before it was locked


def _remove_unused(leftover: Path) -> None:
    """Remove a file unless another process uses it."""
    if sys.platform == "win32":
        leftover.unlink()
        return
    handle = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        leftover.unlink()
    finally:
        os.close(handle)
