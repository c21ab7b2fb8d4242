"""Locked directories: what a second process is told, and what a killed process leaves."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ensemble.core import locks
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json, write_json
from ensemble.core.locks import LOCK, OWNER, DirectoryLocked, is_worked_on, locked, whole_folder

HOLD = """
import sys, time
from pathlib import Path
from ensemble.core.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds ``tmp_path / "member"``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "member"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def left_behind(folder: Path, **owner: Any) -> None:
    """Leave what a dead process leaves: the lock's file and the text about its owner."""
    folder.mkdir()
    (folder / LOCK).touch()
    here = {"pid": 4711, "host": locks.platform.node(), "started": time.time() - 7200}
    write_json(folder / OWNER, here | owner)


def test_the_folder_is_made_and_empty_afterwards(tmp_path: Path) -> None:
    with locked(tmp_path / "runs" / "member"):
        owner = read_json(tmp_path / "runs" / "member" / OWNER)
        assert (owner["pid"], owner["host"]) == (os.getpid(), locks.platform.node())
        assert time.time() - owner["started"] < 60
        (tmp_path / "runs" / "member" / "file").touch()
    assert [path.name for path in (tmp_path / "runs" / "member").iterdir()] == ["file"]


def test_a_new_folder_in_which_nothing_was_made_does_not_stay(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / "new"):
        raise KeyboardInterrupt
    (tmp_path / "old").mkdir()
    with locked(tmp_path / "old"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_lock_of_the_future_locks_nothing(tmp_path: Path) -> None:
    left_behind(tmp_path / "member", started=time.time() + 1e6)
    os.utime(tmp_path / "member" / LOCK, (time.time() + 1e6, time.time() + 1e6))
    with locked(tmp_path / "member"):
        assert read_json(tmp_path / "member" / OWNER)["pid"] == os.getpid()


def test_the_lock_of_a_folder_that_took_the_place_of_a_renamed_one_stays(tmp_path: Path) -> None:
    with locked(tmp_path / "member"):
        (tmp_path / "member").rename(tmp_path / "renamed")
        left_behind(tmp_path / "member")
    assert (tmp_path / "member" / LOCK).exists()
    assert (tmp_path / "member" / OWNER).exists()


# ---------------------------------------------------------------- whole folders


def test_a_folder_appears_whole_and_replaces_an_old_one(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with whole_folder(tmp_path / "made") as folder:
            (folder / "file").write_text(text)
            assert not (tmp_path / "made").exists() or (tmp_path / "made" / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["file"]
    assert (tmp_path / "made" / "file").read_text() == "second"


def test_an_error_leaves_nothing_and_keeps_the_old_folder(tmp_path: Path) -> None:
    def fill(error: Exception) -> None:
        with whole_folder(tmp_path / "made") as folder:
            (folder / "file").touch()
            raise error

    with pytest.raises(EnsError, match="the disk is full"):
        fill(EnsError("the disk is full"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "made").mkdir()
    with pytest.raises(EnsError, match=r"cannot write .*made: No space left on device; choose"):
        fill(OSError(errno.ENOSPC, "No space left on device"))
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    left_behind(tmp_path / ".made.tmp")
    (tmp_path / ".made.tmp" / "half").mkdir()
    (tmp_path / ".made.old").mkdir()
    with whole_folder(tmp_path / "made") as folder:
        (folder / "file").touch()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["made", "made/file"]


def test_two_processes_do_not_make_the_same_folder(tmp_path: Path) -> None:
    with (
        whole_folder(tmp_path / "made"),
        pytest.raises(DirectoryLocked, match=r"has worked on made for"),
        whole_folder(tmp_path / "made"),
    ):
        pass


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def test_the_error_names_the_process_that_holds_the_lock(other: subprocess.Popen[str], tmp_path: Path) -> None:
    text = rf"process {other.pid} on this machine has worked on member for \d+ s; wait until it ends, or stop it and"
    with pytest.raises(DirectoryLocked, match=text), locked(tmp_path / "member"):
        pass
    assert read_json(tmp_path / "member" / OWNER)["pid"] == other.pid  # untouched


def test_a_killed_process_holds_nothing(other: subprocess.Popen[str], tmp_path: Path) -> None:
    assert is_worked_on(tmp_path / "member")
    other.kill()
    other.wait()
    assert not is_worked_on(tmp_path / "member")
    assert (tmp_path / "member" / OWNER).is_file()
    with locked(tmp_path / "member"):
        assert read_json(tmp_path / "member" / OWNER)["pid"] == os.getpid()


@pytest.mark.parametrize("owner", [{"pid": os.getpid()}, {"host": "node7"}])
def test_what_a_dead_process_left_holds_nothing(tmp_path: Path, owner: dict[str, Any]) -> None:
    left_behind(tmp_path / "member", **owner)
    assert is_worked_on(tmp_path / "member") == ("host" in owner)  # the lock of another machine cannot be looked at
    with locked(tmp_path / "member"):
        assert read_json(tmp_path / "member" / OWNER)["pid"] == os.getpid()
    assert list((tmp_path / "member").iterdir()) == []


def test_an_owner_on_another_machine_is_named(tmp_path: Path) -> None:
    with locked(tmp_path / "member"):
        write_json(tmp_path / "member" / OWNER, {"pid": 4711, "host": "node7", "started": time.time() - 9000})
        text = r"process 4711 on node7 has worked on member for 2\.5 h; wait until it ends"
        with pytest.raises(DirectoryLocked, match=text), locked(tmp_path / "member"):
            pass


def test_without_kernel_locks_the_file_itself_is_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    for _ in range(2):
        with locked(tmp_path / "member"):
            text = r"on this machine has worked on member for \d+ s; wait until it ends"
            with pytest.raises(DirectoryLocked, match=text), locked(tmp_path / "member"):
                pass
        assert not (tmp_path / "member").exists()


def test_a_file_system_that_refuses_to_lock_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    text = "cannot lock .*member: No locks available; choose a folder that can be written and locked"
    with pytest.raises(EnsError, match=text), locked(tmp_path / "member"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        text = "cannot lock .*member: Permission denied; choose a folder that can be written"
        with pytest.raises(EnsError, match=text), locked(tmp_path / "member"):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_a_lock_without_an_owner_text(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / OWNER).unlink()
        with pytest.raises(DirectoryLocked, match=f"another process works on {tmp_path.name}; wait"), locked(tmp_path):
            pass


def test_a_file_instead_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text = r"cannot lock .*file: .*; choose a folder that can be written"
    with pytest.raises(EnsError, match=text), locked(tmp_path / "file"):
        pass
