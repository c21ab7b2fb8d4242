"""The guard of all readers, and the checks of sizes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ensemble.core.errors import EnsError
from ensemble.core.reading import check_memory, guard, is_file, is_folder, read_bytes


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad magic\nsecond line"), r"a\.bin cannot be read as a map \(bad magic\); draw it again"),
        (struct.error("unpack requires 4 bytes"), r"\(unpack requires 4 bytes\)"),
        (KeyError(), r"\(KeyError\)"),
        (RecursionError("maximum recursion depth"), r"\(it is nested too deeply\)"),
        (MemoryError(), r"\(it needs more memory than is free\)"),
        (OSError(5, "Input/output error"), r"\(Input/output error\)"),
        (FileNotFoundError(2, "No such file"), r"there is no file a\.bin; check the path"),
        (ValueError("x" * 999), r"\(x{200}\)"),
        (EnsError("our own sentence"), "^our own sentence$"),
    ],
)
def test_every_exception_becomes_one_sentence(error: Exception, text: str) -> None:
    with pytest.raises(EnsError, match=text), guard(Path("a.bin"), "a map", "draw it again"):
        raise error


def test_an_interruption_is_no_error_of_the_file() -> None:
    with pytest.raises(KeyboardInterrupt), guard(Path("a.bin"), "a map", "draw it again"):
        raise KeyboardInterrupt


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(2_000_000))
    assert len(read_bytes(tmp_path / "a", "text", "x", 2_000_000)) == 2_000_000
    with pytest.raises(EnsError, match=r"expected at most 1 MB in .*a, which is read as text, got 2 MB"):
        read_bytes(tmp_path / "a", "text", "x", 1_000_000)
    monkeypatch.setattr("ensemble.core.reading.free_lately", lambda: 1_000_000)
    with pytest.raises(EnsError, match=r"a needs 0\.002 GB of memory, but 0\.001 GB are free"):
        read_bytes(tmp_path / "a", "text", "x")


def test_more_memory_than_any_machine_has_is_refused() -> None:
    with pytest.raises(EnsError, match=r"reading x needs 2,000,000 GB of memory, but .* GB are free; check the file"):
        check_memory(2 * 10**15, "reading x")


def test_free_memory_is_read_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, answers = [10**9 + 0.1], iter([500, 100])
    monkeypatch.setattr("ensemble.core.reading.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("ensemble.core.reading.free_memory", lambda: next(answers))
    for _ in range(5000):
        check_memory(400, "x")
    clock[0] += 1
    with pytest.raises(EnsError, match="x needs 4e-07 GB of memory, but 1e-07 GB are free"):
        check_memory(400, "x")


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "ü" * 200])
def test_names_that_no_file_can_have_are_no_files(name: str, tmp_path: Path) -> None:
    assert not is_file(tmp_path / name)
    assert not is_folder(tmp_path / name)
    with pytest.raises(EnsError, match="cannot be read as text"):
        read_bytes(tmp_path / name, "text", "check the path")
