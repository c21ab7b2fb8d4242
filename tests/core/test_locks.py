"""One process at a time: who is told what, and what a dead process leaves."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from ensemble.core import locks
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json, write_json
from ensemble.core.locks import LOCK, OWNER, DirectoryLocked, locked

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


def left_behind(folder: Path, seconds_ago: float, **owner: Any) -> None:
    """What a dead process leaves: the lock's file and who it was, last heard of some time ago."""
    folder.mkdir()
    (folder / LOCK).touch()
    here = {"pid": 4711, "host": locks.platform.node(), "started": time.time() - 7200}
    write_json(folder / OWNER, here | owner)
    then = time.time() - seconds_ago
    os.utime(folder / OWNER, (then, then))


def test_the_folder_is_made_and_empty_afterwards(tmp_path: Path) -> None:
    with locked(tmp_path / "runs" / "member"):
        owner = read_json(tmp_path / "runs" / "member" / OWNER)
        assert (owner["pid"], owner["host"]) == (os.getpid(), locks.platform.node())
        assert time.time() - owner["started"] < 60
    assert list((tmp_path / "runs" / "member").iterdir()) == []


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def test_the_second_process_is_told_who_has_it(other: subprocess.Popen[str], tmp_path: Path) -> None:
    text = rf"process {other.pid} on this machine has worked on member for \d+ s; wait until it ends, or stop it and"
    with pytest.raises(DirectoryLocked, match=text), locked(tmp_path / "member"):
        pass
    assert read_json(tmp_path / "member" / OWNER)["pid"] == other.pid  # untouched


def test_a_killed_process_holds_nothing(other: subprocess.Popen[str], tmp_path: Path) -> None:
    other.kill()
    other.wait()
    assert (tmp_path / "member" / OWNER).is_file()
    with locked(tmp_path / "member"):  # at once, though its last sign of life is a moment ago
        assert read_json(tmp_path / "member" / OWNER)["pid"] == os.getpid()


def test_a_process_id_that_is_used_again_holds_nothing(tmp_path: Path) -> None:
    left_behind(tmp_path / "member", 1, pid=os.getpid())
    with locked(tmp_path / "member"):
        pass
    assert list((tmp_path / "member").iterdir()) == []


def test_an_owner_elsewhere_is_alive_while_it_gives_signs(tmp_path: Path) -> None:
    left_behind(tmp_path / "member", 40, host="node7")
    text = (
        r"process 4711 on node7 has worked on member for 2 h, last heard of 4\d s ago; if that process is dead, repeat"
        r" the command in (1[34]\d s|2 min)"
    )
    with pytest.raises(DirectoryLocked, match=text), locked(tmp_path / "member"):
        pass
    assert {path.name for path in (tmp_path / "member").iterdir()} == {LOCK, OWNER}


def test_an_owner_elsewhere_that_was_silent_is_dead(tmp_path: Path) -> None:
    left_behind(tmp_path / "member", locks.SILENCE + 1, host="node7")
    with locked(tmp_path / "member"):
        assert read_json(tmp_path / "member" / OWNER)["pid"] == os.getpid()


def test_signs_of_life_are_given_while_the_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.01)
    with locked(tmp_path):
        os.utime(tmp_path / OWNER, (0, 0))
        end = time.monotonic() + 20
        while not (tmp_path / OWNER).stat().st_mtime and time.monotonic() < end:
            time.sleep(0.01)
        assert (tmp_path / OWNER).stat().st_mtime > 0


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no flock")])
def test_without_kernel_locks_signs_of_life_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def acquire(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with locked(tmp_path / "member"):
        text = r"on this machine has worked on member for \d+ s, last heard of \d+ s ago"
        with pytest.raises(DirectoryLocked, match=text), locked(tmp_path / "member"):
            pass
        assert (tmp_path / "member" / OWNER).is_file()
    assert not (tmp_path / "member" / OWNER).exists()


def test_a_lock_without_a_name_is_told_too(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / OWNER).unlink()
        with pytest.raises(DirectoryLocked, match=f"another process works on {tmp_path.name}; wait"), locked(tmp_path):
            pass


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text = r"cannot lock .*file: .*; choose a folder that can be written"
    with pytest.raises(EnsError, match=text), locked(tmp_path / "file"):
        pass
