"""One process at a time in a directory: a lock of the kernel, and a sign of life for other machines."""

from __future__ import annotations

import errno
import os
import platform
import threading
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from ensemble.core.errors import EnsError
from ensemble.core.files import read_json, write_json

LOCK, OWNER = ".lock", ".owner.json"
BEAT = 20.0  # seconds between two signs of life
SILENCE = 180.0  # an owner elsewhere that was silent for so long is dead; file servers report times up to 60 s late
UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


class DirectoryLocked(EnsError):
    """Another process works in the directory."""


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Keep other processes out of ``folder``, which is made where absent, while the block runs.

    The kernel's lock on ``.lock`` goes with the process that holds it, however it ends: on one machine nothing stale
    is left, not after a reboot nor when the process id is used again. ``.owner.json`` says who holds it (process,
    host, since when), and a thread renews its time every 20 s. A network file system may keep kernel locks to one
    machine, or have none; so an owner on another machine, or any where there are no locks, also counts as alive
    until it was silent for three minutes. Two machines that start within the same second are then not told apart.

    Raises:
        DirectoryLocked: another process holds it; the sentence names it, its age and what to do.
        EnsError: the folder cannot be made or written.
    """
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        by_kernel = _acquire(lock)
    except Timeout:
        raise DirectoryLocked(f"{_in_use(folder)}; wait until it ends, or stop it and repeat the command") from None
    except OSError as error:
        raise EnsError(
            f"cannot lock {folder}: {error.strerror or error}; choose a folder that can be written"
        ) from None
    try:
        _check_elsewhere(folder, by_kernel)
        with _owned(folder):
            yield
    finally:
        lock.release()


def _acquire(lock: FileLock) -> bool:
    """Take the kernel's lock; False where the file system has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # filelock tells that it falls back to a file that merely exists
            lock.acquire(timeout=0)
    except NotImplementedError:
        return False
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in UNSUPPORTED:
            raise
        return False
    return True


@contextmanager
def _owned(folder: Path) -> Generator[None]:
    """Say who holds the lock, and give a sign of life now and then."""
    owner, done = folder / OWNER, threading.Event()
    write_json(owner, {"pid": os.getpid(), "host": platform.node(), "started": time.time()})

    def beat() -> None:
        while not done.wait(BEAT):
            with suppress(OSError):
                os.utime(owner)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        for file in (owner, folder / LOCK):  # while it is held: whoever opened it already sees that it is gone
            with suppress(OSError):  # Windows removes the lock when it is released
                file.unlink(missing_ok=True)


def _check_elsewhere(folder: Path, by_kernel: bool) -> None:
    """Refuse where an owner that the kernel cannot vouch for gave a sign of life lately."""
    owner = _owner(folder)
    if owner is None or (by_kernel and owner.get("host") == platform.node()):
        return
    (folder / LOCK).touch()  # so that both times are of the file server's clock
    beat = (folder / OWNER).stat().st_mtime if (folder / OWNER).exists() else 0.0
    silent = (folder / LOCK).stat().st_mtime - beat
    if silent < SILENCE:
        raise DirectoryLocked(
            f"{_in_use(folder)}, last heard of {_span(silent)} ago; if that process is dead, repeat the command in"
            f" {_span(SILENCE - silent)}"
        )


def _in_use(folder: Path) -> str:
    owner = _owner(folder)
    if owner is None:
        return f"another process works on {folder.name}"
    where = "this machine" if owner.get("host") == platform.node() else owner.get("host")
    since = _span(time.time() - float(owner.get("started", time.time())))
    return f"process {owner.get('pid')} on {where} has worked on {folder.name} for {since}"


def _owner(folder: Path) -> dict[str, Any] | None:
    try:
        content = read_json(folder / OWNER)
    except EnsError:  # not written yet, or gone already
        return None
    return cast(dict[str, Any], content) if isinstance(content, dict) else None


def _span(seconds: float) -> str:
    """A length of time in the unit one would say it in."""
    seconds = max(0.0, seconds)
    unit, length = next((u, n) for u, n in (("s", 1), ("min", 60), ("h", 3600)) if seconds < 100 * n or u == "h")
    return f"{seconds / length:.0f} {unit}"
