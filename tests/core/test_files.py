"""Files that are whole or absent, JSON that any reader can parse, and digests."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, check_file, digest, file_digest, read_json, write_bytes, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def full_disk(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    with atomic(path) as stream:
        stream.write(b"half")
        assert not path.exists()
        assert len(names(path.parent)) == 1
        assert names(path.parent)[0].startswith(".a.bin.")
    assert path.read_bytes() == b"half"
    assert names(path.parent) == ["a.bin"]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [ValueError("stop"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def fail() -> None:
        with atomic(path) as stream:
            stream.write(b"new")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_content_is_on_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("sync"), sync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda old, new: (events.append("rename"), replace(old, new))[1])
    write_bytes(tmp_path / "a.bin", b"x")
    assert events[:2] == ["sync", "rename"]
    assert events[2:] == (["sync"] if os.name == "posix" else [])


@pytest.mark.parametrize("call", ["os.fsync", "tempfile.mkstemp"])
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    monkeypatch.setattr(call, full_disk if call == "os.fsync" else lambda **_: full_disk())
    with pytest.raises(EnsError, match=r"cannot write .*a\.bin: No space left on device; choose another folder, or"):
        write_bytes(path, b"new")
    assert names(tmp_path) == ["a.bin"]
    assert path.read_bytes() == b"old"


def test_a_file_instead_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnsError, match=r"cannot write .*a\.bin: .*; choose another folder"):
        write_bytes(tmp_path / "file" / "a.bin", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(EnsError, match=r"cannot write .*folder: "):
        write_bytes(tmp_path / "folder", b"x")
    assert names(tmp_path) == ["file", "folder"]


def test_a_place_that_takes_no_file_is_refused_before_the_work(tmp_path: Path) -> None:
    check_file(tmp_path / "new" / "report.html")
    assert names(tmp_path) == []
    with pytest.raises(EnsError, match=r"expected a file to write, got the folder .*; pass a file in it"):
        check_file(tmp_path)
    if Path("/proc/self").is_dir():  # os.access says yes there
        with pytest.raises(EnsError, match=r"expected a folder that can be written for /proc/self, but .* is not"):
            check_file(Path("/proc/self/report.html"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_device_or_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for write in (check_file, lambda path: write_bytes(path, b"x")):
        with pytest.raises(EnsError, match=r"expected a file to write, got .*pipe, which is a device or a pipe"):
            write(pipe)
    assert pipe.is_fifo()


# ---------------------------------------------------------------- JSON


def test_json_holds_plain_values_and_null_for_nan(tmp_path: Path) -> None:
    content = {
        "nan": float("nan"),
        "wide": np.float32("nan"),
        "array": np.array([[1.5, np.nan]]),
        "number": np.int64(3),
        "flag": np.bool_(True),
        "tuple": (1, {"inner": np.float64(0.25)}),
        "text": "größer",
        7: None,
    }
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert "größer" in text
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")) == {
        "nan": None,
        "wide": None,
        "array": [[1.5, None]],
        "number": 3,
        "flag": True,
        "tuple": [1, {"inner": 0.25}],
        "text": "größer",
        "7": None,
    }
    assert read_json(tmp_path / "a.json")["flag"] is True


def test_a_value_that_json_cannot_hold_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"what": object()})
    assert names(tmp_path) == []


def test_missing_json_says_that_the_directory_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"a\.json is missing; the directory is incomplete, create it again"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00"])
def test_broken_json_says_that_the_directory_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(
        EnsError, match=r"a\.json cannot be read as JSON \(.*\); the directory is damaged, create it again"
    ):
        read_json(tmp_path / "a.json")


def test_a_folder_in_place_of_json_is_damage(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match="cannot be read"):
        read_json(tmp_path)


# ---------------------------------------------------------------- digests


def test_digest_is_blake2b_of_lengths_and_parts() -> None:
    framed = (2).to_bytes(8, "little") + b"ab" + (1).to_bytes(8, "little") + b"c"
    assert digest("ab", b"c") == hashlib.blake2b(framed, digest_size=16).hexdigest()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_digests_differ_when_parts_differ(first: list[str], second: list[str]) -> None:
    assert (digest(*first) == digest(*second)) == (first == second)


def test_digest_takes_arrays_of_any_shape_and_none() -> None:
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    assert digest(array.data) == digest(array.tobytes())
    assert digest(np.zeros((0, 4, 5)).data) == digest(b"")
    assert digest("a", np.zeros((0, 4)).data) != digest("a")


def test_file_digest_is_blake2b_of_the_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3000
    (tmp_path / "a").write_bytes(content)
    assert file_digest(tmp_path / "a") == hashlib.blake2b(content, digest_size=16).hexdigest()
