"""The cache gives what was written, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.core.cache import Cache


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    return tmp_path


def test_what_is_written_is_read() -> None:
    one = Cache("things", 1, "abc")
    assert one.read() is None
    one.write(b"content")
    assert one.read() == b"content"
    assert one.path.name == "things-v1-abc.bin"


@pytest.mark.parametrize("other", [Cache("things", 2, "abc"), Cache("things", 1, "abd"), Cache("thing", 1, "abc")])
def test_a_renamed_file_of_another_kind_version_or_key_is_not_read(other: Cache) -> None:
    one = Cache("things", 1, "abc")
    one.write(b"content")
    one.path.rename(other.path)
    assert other.read() is None


def test_no_flipped_bit_is_read() -> None:
    one = Cache("things", 1, "abc")
    kept = one.packed(b"content")
    for bit in range(8 * len(kept)):
        raw = bytearray(kept)
        raw[bit // 8] ^= 1 << bit % 8
        one.path.write_bytes(raw)
        assert one.read() is None
