"""Run a command of `ens` in a forked process and disturb it: kill it, fill its disk, limit its files (POSIX only)."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Self

from ensemble.cli import app
from ensemble.study import member_main, member_process

CALLS = ("fsync", "replace", "rename", "unlink")
FILLER = "filler"
WRITES = re.compile(r"\s*(INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|ALTER TABLE|DROP TABLE) (\S+)")


@dataclass(frozen=True)
class Trouble:
    """What happens to a run.

    Attributes:
        kill_at: number of the call, from 1 on, at which the process gets SIGKILL.
        kill_after: seconds after which the process gets SIGKILL.
        kill_child_after: seconds after which the first child of the process gets SIGKILL.
        fill_at: number of the call at which the disk is filled; -1 fills it before the command starts.
        largest_file: limit of the size of a file, in bytes.
        open_files: limit of the number of open files.
    """

    kill_at: int = 0
    kill_after: float | None = None
    kill_child_after: float | None = None
    fill_at: int = 0
    largest_file: int = resource.RLIM_INFINITY
    open_files: int | None = None


NONE = Trouble()


class Calls:
    """Counts the calls that change files, and makes trouble at one of them."""

    def __init__(self, trouble: Trouble, folder: Path) -> None:
        self.trouble, self.folder = trouble, folder
        self.seen: list[str] = []
        files = (file.stat() for file in folder.rglob("*") if file.is_file() and not file.name.endswith(".tmp"))
        self.synced = {file.st_ino: file.st_size for file in files}  # bytes that a crash of the system may not lose
        for name in CALLS:
            setattr(os, name, self._counted(name, getattr(os, name)))

    def watch_databases(self) -> None:
        """Count the statements that write to a data base."""
        from sqlalchemy import event  # noqa: PLC0415  (an extra)
        from sqlalchemy.engine import Engine  # noqa: PLC0415

        def before(_: Any, __: Any, statement: str, *___: Any) -> None:
            if found := WRITES.match(statement):
                table = "" if "TABLE" in found[1] or "alembic" in found[2] else f" {found[2]}"
                self._count(f"sql {found[1]}{table}")

        event.listen(Engine, "before_cursor_execute", before)

    def _count(self, call: str, handle: int | None = None) -> None:
        self.seen.append(call)
        if len(self.seen) == self.trouble.kill_at:
            if handle is not None:
                self._lose_half(handle)
            os.kill(os.getpid(), signal.SIGKILL)
        if len(self.seen) == self.trouble.fill_at:
            fill(self.folder)

    def _lose_half(self, handle: int) -> None:
        """Cut a file to half of what is not synchronised yet: until then the system promises nothing about it."""
        status = os.fstat(handle)
        safe = min(self.synced.get(status.st_ino, 0), status.st_size)
        os.ftruncate(handle, (safe + status.st_size) // 2)

    def _counted(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if name == "unlink" and "dir_fd" not in more and not Path(arguments[0]).exists():
                return original(*arguments, **more)  # a temporary name that was renamed
            file = _file(name, arguments)
            self._count(f"{name} {file}", arguments[0] if name == "fsync" and file != "folder" else None)
            result = original(*arguments, **more)
            if name == "fsync":
                status = os.fstat(arguments[0])
                self.synced[status.st_ino] = status.st_size
            return result

        return call


def fill(folder: Path) -> None:
    """Fill a disk."""
    with suppress(OSError), (folder / FILLER).open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(1 << 10))


def _file(name: str, arguments: Sequence[Any]) -> str:
    """Return the name of the file of a call, without numbers and the random part of a temporary name."""
    path = Path(f"/proc/self/fd/{arguments[0]}").resolve() if name == "fsync" else Path(arguments[name == "replace"])
    if name == "fsync" and path.is_dir():
        return "folder"
    plain = re.sub(r"^\.(.+)\.\w{8}\.tmp$", r"\1", path.name)
    return re.sub(r"-?f?\d+(?=\.|$)", "", re.sub(r"[0-9a-f]{32}|-[0-9a-f]{6}\b", "", plain))


class ForkedMember:
    """Stands in for the ``subprocess.Popen`` of a member of a study: a fork, which need not import torch again."""

    def __init__(self, command: Sequence[str], *, stderr: IO[str], **_: Any) -> None:
        read, write = os.pipe()
        self.pid, self.returncode = os.fork(), None
        if self.pid == 0:
            os.setsid()
            os.dup2(write, 1)
            os.dup2(stderr.fileno(), 2)
            CURRENT[0].trouble = NONE
            try:
                code = member_main.main(command[-1])
                sys.stdout.flush()
            except BaseException:  # as the interpreter does
                traceback.print_exc()
                code = 1
            os._exit(code)
        os.close(write)
        self.stdout = os.fdopen(read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code, which is negative for a signal."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


CURRENT: list[Calls] = []
"""The counter of this process."""


class Runner:
    """Runs commands in forks of this process, which has loaded their libraries; everything they print is kept."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def start(self, command: Sequence[str], folder: Path, trouble: Trouble = NONE) -> ForkProcess:
        """Start a command, as if typed."""
        target = multiprocessing.get_context("fork").Process
        process = target(target=_run, args=(list(command), folder, trouble, self.notes))
        process.start()
        return process

    def run(self, command: Sequence[str], folder: Path, trouble: Trouble = NONE) -> int:
        """Run a command and return its exit code, which is negative for a signal."""
        process = self.start(command, folder, trouble)
        if trouble.kill_child_after is not None:
            kill_child(process.pid or 0, trouble.kill_child_after)
        process.join(trouble.kill_after)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode

    @property
    def output(self) -> str:
        """What the last command printed."""
        return (self.notes / "output.txt").read_text(errors="replace").strip()

    @property
    def calls(self) -> list[str]:
        """The calls of the last command that came to an end."""
        return json.loads((self.notes / "calls.json").read_text())


def _run(command: list[str], folder: Path, trouble: Trouble, notes: Path) -> None:
    with (notes / "output.txt").open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    (folder / "tmp").mkdir(exist_ok=True)
    os.environ |= {"TMPDIR": str(folder / "tmp"), "XDG_CACHE_HOME": str(folder / "cache")}
    tempfile.tempdir = None
    tempfile.gettempdir()  # Python looks once whether it can write there
    if trouble.fill_at == -1:
        fill(folder)
    calls = Calls(trouble, folder)
    CURRENT[:] = [calls]
    if command[0] == "study":
        names = SimpleNamespace(Popen=ForkedMember, PIPE=-1, DEVNULL=-3, TimeoutExpired=subprocess.TimeoutExpired)
        member_process.__dict__["subprocess"] = names
    if command[0] == "track":
        calls.watch_databases()
    resource.setrlimit(resource.RLIMIT_FSIZE, (trouble.largest_file, resource.RLIM_INFINITY))
    if trouble.open_files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (trouble.open_files, trouble.open_files))
    try:
        app(command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (notes / "calls.json").write_text(json.dumps(calls.seen))


def kill_child(parent: int, seconds: float) -> None:
    """Send SIGKILL to the first child of a process, some seconds after it was started."""
    while True:
        lists = [file.read_text().split() for file in Path(f"/proc/{parent}/task").glob("*/children")]
        children = [int(number) for one in lists for number in one]
        if children or not lists:
            break
        time.sleep(0.02)
    time.sleep(seconds)
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


@contextmanager
def small_disk(folder: Path) -> Generator[Path | None]:
    """A file system of 64 MB in memory, or None if this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder]
    mounted = subprocess.run(command, check=False, capture_output=True)
    try:
        yield None if mounted.returncode else folder
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", folder], check=True)
