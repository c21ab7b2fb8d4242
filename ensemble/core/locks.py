"""Lock a directory for one process with a lock of the operating system, which ends when the process ends."""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ensemble.core.errors import EnsError
from ensemble.core.files import read_json, write_json
from ensemble.core.formatting import duration

LOCK, OWNER = ".lock", ".owner.json"


class DirectoryLocked(EnsError):
    """Raised when another process works in the directory."""


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Keep other processes out of ``folder`` while the block runs; the folder is created if it does not exist.

    The operating system locks ``.lock`` and releases it when the process ends, however it ends, so a killed process
    never blocks the folder. ``.owner.json`` names the process that holds the lock (process id, host, start time); it
    serves the error text only. Processes on two machines exclude each other if their network file system supports
    locks between machines (NFS version 4 does). If a file system has no locks at all, the existence of ``.lock``
    counts as the lock.

    Raises:
        DirectoryLocked: another process holds the lock; the text names it, its age and what to do.
        EnsError: the folder cannot be created, written or locked.
    """
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # filelock warns when it falls back to the existence of the file
            lock.acquire(timeout=0)
    except Timeout:
        raise DirectoryLocked(f"{_owner(folder)}; wait until it ends, or stop it and repeat the command") from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EnsError(f"cannot lock {folder}: {reason}; choose a folder that can be written and locked") from None
    try:
        write_json(folder / OWNER, {"pid": os.getpid(), "host": platform.node(), "started": time.time()})
        yield
    finally:
        for file in (folder / OWNER, folder / LOCK):  # before the release: who opened .lock notices that it is gone
            with suppress(OSError):  # Windows cannot delete an open file; the release deletes it there
                file.unlink(missing_ok=True)
        lock.release()


def _owner(folder: Path) -> str:
    """Return the subject of the error: ``process 4711 on node7 has worked on NAME for 2.0 h``."""
    try:
        owner = read_json(folder / OWNER)
        where = "this machine" if owner["host"] == platform.node() else owner["host"]
        since = duration(max(0.0, time.time() - float(owner["started"])))
        return f"process {owner['pid']} on {where} has worked on {folder.name} for {since}"
    except (EnsError, KeyError, TypeError, ValueError):  # the file is not written yet, gone already, or damaged
        return f"another process works on {folder.name}"
