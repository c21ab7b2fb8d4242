"""Temporary files: what a killed writer left goes, what another process writes stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ensemble.core import temporary
from ensemble.core.files import atomic, write_bytes

WRITE = """
import sys, time
from pathlib import Path
from ensemble.core.files import atomic
with atomic(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    print("writes", flush=True)
    time.sleep(600)
"""

posix = pytest.mark.skipif(os.name != "posix", reason="locks of files that are open")
Start = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(path)``: another process that is in the middle of writing ``path``."""
    processes: list[subprocess.Popen[str]] = []

    def run(path: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", WRITE, path], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "writes\n"
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@posix
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path, start: Start) -> None:
    process = start(tmp_path / "a.bin")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(names(tmp_path)) == 1
    write_bytes(tmp_path / "a.bin", b"whole")
    assert names(tmp_path) == ["a.bin"]


@posix
def test_the_file_of_a_living_writer_stays(tmp_path: Path, start: Start) -> None:
    start(tmp_path / "a.bin")
    (theirs,) = names(tmp_path)
    write_bytes(tmp_path / "a.bin", b"whole")
    assert names(tmp_path) == [theirs, "a.bin"]


def test_files_of_other_targets_stay(tmp_path: Path) -> None:
    others = [".a.bin.backup.tmp", ".a.binx.abcdefgh.tmp", ".b.bin.abcdefgh.tmp", "a.bin.abcdefgh.tmp"]
    for name in (*others, ".a.bin.abcdefgh.tmp"):
        (tmp_path / name).touch()
    write_bytes(tmp_path / "a.bin", b"whole")
    assert names(tmp_path) == sorted([*others, "a.bin"])


@posix
def test_a_link_in_place_of_a_temporary_file_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / ".a.bin.abcdefgh.tmp").symlink_to(tmp_path / "kept")
    write_bytes(tmp_path / "a.bin", b"whole")
    assert (tmp_path / "kept").read_bytes() == b"kept"


@posix
def test_a_file_that_another_process_took_away_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    taken: list[str] = []

    def flock(handle: int, kind: int) -> None:
        if not taken:
            taken.extend(names(tmp_path))
            (tmp_path / taken[0]).unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    write_bytes(tmp_path / "a.bin", b"whole")
    assert taken
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


@posix
def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def flock(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ".a.bin.abcdefgh.tmp").touch()
    write_bytes(tmp_path / "a.bin", b"whole")
    assert names(tmp_path) == [".a.bin.abcdefgh.tmp", "a.bin"]


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: (listed.append(folder), glob(folder, pattern))[1])
    temporary._left_behind.cache_clear()  # pyright: ignore[reportPrivateUsage]
    for number in range(3):
        with atomic(tmp_path / f"{number}.png") as stream:
            stream.write(b"x")
    assert listed == [tmp_path]
