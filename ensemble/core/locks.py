"""Lock a directory for one process with a lock of the operating system, which ends when the process ends."""

from __future__ import annotations

import os
import platform
import shutil
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from ensemble.core.errors import EnsError
from ensemble.core.files import read_json, sync_folder, write_json
from ensemble.core.formatting import duration

LOCK, OWNER = ".lock", ".owner.json"


class DirectoryLocked(EnsError):
    """Raised when another process works in the directory."""


@contextmanager
def locked(folder: Path, name: str = "") -> Generator[None]:
    """Keep other processes out of ``folder`` while the block runs; the folder is created if it does not exist.

    The operating system locks ``.lock`` and releases it when the process ends, however it ends, so a killed process
    never blocks the folder. ``.owner.json`` names the process that holds the lock (process id, host, start time); it
    serves the error text only. Processes on two machines exclude each other if their network file system supports
    locks between machines (NFS version 4 does). If a file system has no locks at all, the existence of ``.lock``
    counts as the lock.

    Args:
        folder: the folder.
        name: what the error calls it (default: its name).

    Raises:
        DirectoryLocked: another process holds the lock; the text names it, its age and what to do.
        EnsError: the folder cannot be created, written or locked.
    """
    lock, existed = FileLock(folder / LOCK), folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # filelock warns when it falls back to the existence of the file
            lock.acquire(timeout=0)
    except Timeout:
        raise DirectoryLocked(
            f"{_owner(folder, name or folder.name)}; wait until it ends, or stop it and repeat the command"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EnsError(f"cannot lock {folder}: {reason}; choose a folder that can be written and locked") from None
    own = _inode(folder / LOCK)
    try:
        write_json(folder / OWNER, {"pid": os.getpid(), "host": platform.node(), "started": time.time()})
        yield
    finally:
        if _inode(folder / LOCK) == own:  # else the folder was renamed, and another process has made a new one
            for file in (folder / OWNER, folder / LOCK):  # before the release: who opened .lock notices that it is gone
                with suppress(OSError):  # Windows cannot delete an open file; the release deletes it there
                    file.unlink(missing_ok=True)
        lock.release()
        if not existed:
            with suppress(OSError):  # a new folder in which nothing was made does not stay
                folder.rmdir()


def _inode(file: Path) -> int | None:
    with suppress(OSError):
        return file.stat().st_ino
    return None


@contextmanager
def whole_folder(path: Path) -> Generator[Path]:
    """Give a hidden folder that takes the place of the folder ``path`` only when the block ends without an error.

    Raises:
        DirectoryLocked: another process makes the same folder.
        EnsError: the folder cannot be written; nothing is left behind.
    """
    temporary, old = (path.with_name(f".{path.name}{ending}") for ending in (".tmp", ".old"))
    done = False
    with locked(temporary, path.name):
        try:
            _empty(temporary)  # of what a killed process left
            yield temporary
            for file in (OWNER, LOCK):
                (temporary / file).unlink(missing_ok=True)
            shutil.rmtree(old, ignore_errors=True)
            if path.exists():
                path.rename(old)
            temporary.rename(path)
            done = True
            sync_folder(path.parent)
        except OSError as error:
            raise EnsError(f"cannot write {path}: {error.strerror or error}; choose another folder") from error
        finally:
            shutil.rmtree(old, ignore_errors=True)
            if not done:
                _empty(temporary)


def _empty(folder: Path) -> None:
    """Delete everything in a folder but the lock."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (LOCK, OWNER):
            path.unlink()


def is_worked_on(folder: Path) -> bool:
    """Return whether a process holds the lock of a folder, as far as this can be seen without taking the lock."""
    try:
        owner = read_json(folder / OWNER)
        if owner["host"] != platform.node():
            return (folder / LOCK).exists()
        # A process that began after the lock has only the number of the one that took it.
        return psutil.Process(int(owner["pid"])).create_time() <= float(owner["started"])
    except (EnsError, KeyError, TypeError, ValueError, psutil.Error):
        return False


def _owner(folder: Path, name: str) -> str:
    """Return the subject of the error: ``process 4711 on node7 has worked on NAME for 2.0 h``."""
    try:
        owner = read_json(folder / OWNER)
        where = "this machine" if owner["host"] == platform.node() else owner["host"]
        since = duration(max(0.0, time.time() - float(owner["started"])))
        return f"process {owner['pid']} on {where} has worked on {name} for {since}"
    except (EnsError, KeyError, TypeError, ValueError):  # the file is not written yet, gone already, or damaged
        return f"another process works on {name}"
