"""npz and npy files: what is read, what is refused before memory is asked for, and that checksums are compared."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.core.arrays import check_array, npy_entry, npz_entries, read_array, read_npz
from ensemble.core.errors import EnsError

ARRAY = np.random.default_rng(0).integers(0, 256, (7, 5, 6), dtype=np.uint8)


def npy(shape: Any, dtype: str = "|u1", fortran: bool = False, numbers: bytes = b"") -> bytes:
    """Return an npy file with any header."""
    stream = io.BytesIO()
    header: Any = {"descr": dtype, "fortran_order": fortran, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + numbers


def archive(path: Path, method: int = zipfile.ZIP_DEFLATED, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in entries.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    "array",
    [
        ARRAY,
        np.asfortranarray(ARRAY),
        ARRAY.astype(">f4"),
        np.array(["a", "größer"]),
        np.array(3.5),
        np.zeros((0, 4), np.int16),
        np.zeros((3, 0)),
        np.array(["", ""]),
    ],
    ids=["plain", "fortran", "big-endian", "text", "scalar", "empty", "no columns", "empty text"],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_in_c_order(tmp_path: Path, array: Any, save: Any) -> None:
    save(tmp_path / "a.npz", x=array, other=ARRAY)
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == ["x", "other"]
    np.testing.assert_array_equal(found["x"], array)
    assert found["x"].dtype == array.dtype
    assert found["x"].flags.c_contiguous
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_array(npy_entry(tmp_path / "a.npy")), array)


def test_only_the_wanted_arrays_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=ARRAY, y=ARRAY)
    assert list(read_npz(tmp_path / "a.npz", ("y", "z"))) == ["y"]


def test_an_array_can_be_changed_after_reading(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=ARRAY)
    read_npz(tmp_path / "a.npz")["x"][0] = 1


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions_are_named(tmp_path: Path, method: int) -> None:
    path = archive(tmp_path / "a.npz", method, x=npy((3,), numbers=b"abc"))
    with pytest.raises(EnsError, match=r"'x' of .*a\.npz is compressed with (lzma|bzip2), which is not read; write it"):
        read_npz(path)


def test_an_encrypted_archive_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", x=npy((3,), numbers=b"abc"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(EnsError, match=r"'x' of .*a\.npz is encrypted; write it with numpy\.savez_compressed"):
        read_npz(path)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1 << 41, 2, 16, 32), "|u1"), ((300_000_000, 2, 4, 4), "<f4"), ((3,), "<U1000"), ((-1, 3), "|u1"), ((2,), "|u1")],
)
def test_a_claim_that_the_file_cannot_hold_is_refused(tmp_path: Path, shape: Any, dtype: str) -> None:
    path = archive(tmp_path / "a.npz", x=npy(shape, dtype, numbers=b"abc"))
    with pytest.raises(EnsError, match=r"'x' of .*a\.npz claims the shape .* but 3 bytes are there; copy or write it"):
        npz_entries(path)
    (tmp_path / "a.npy").write_bytes(npy(shape, dtype, numbers=b"abc"))
    with pytest.raises(EnsError, match=r"a\.npy claims the shape .* but 3 bytes are there"):
        npy_entry(tmp_path / "a.npy")


def test_a_size_that_the_archive_forges_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", x=npy((1 << 31,), numbers=b"abc"))
    content = bytearray(path.read_bytes())
    head = content.index(b"PK\1\2")
    content[head + 24 : head + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(
        EnsError, match=r"'x' of .* claims 4294967280 bytes, more than its \d+ compressed bytes can hold"
    ):
        npz_entries(path)


def test_an_honest_array_that_does_not_fit_into_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(2_000_000, np.uint8))
    entry = npz_entries(tmp_path / "a.npz")["x"]
    monkeypatch.setattr("ensemble.core.reading.free_lately", lambda: 1_000_000)
    with pytest.raises(EnsError, match=r"reading .*a\.npz needs 0\.002 GB of memory, but 0\.001 GB are free"):
        read_npz(tmp_path / "a.npz")
    check_array(entry)  # without keeping it there is room


@pytest.mark.parametrize("header", [b"{" + b"[" * 9000, b"[" * 500 + b"]" * 500, b"{'descr': 1}", b"\xff" * 90])
def test_a_header_that_is_no_header_is_one_sentence(tmp_path: Path, header: bytes) -> None:
    content = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header
    with pytest.raises(EnsError, match=r"a\.npz cannot be read as an npz file \(.*\); copy or write it again"):
        npz_entries(archive(tmp_path / "a.npz", x=content))


def test_an_array_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", npy((1,), numbers=b"a"))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("x.npy", npy((1,), numbers=b"b"))
    with pytest.raises(EnsError, match="holds the array 'x' twice"):
        npz_entries(tmp_path / "a.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_checksum_is_compared(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "a.npz", x=np.random.default_rng(0).integers(0, 256, 99_999, dtype=np.uint8))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[70_000] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    entry = npz_entries(tmp_path / "a.npz")["x"]
    for read in (read_array, check_array):
        with pytest.raises(EnsError, match=r"a\.npz cannot be read as an npz file \(.*\); copy or write it again"):
            read(entry)
