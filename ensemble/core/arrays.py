"""Read the arrays of npz and npy files: sizes are checked before memory is asked for, contents against checksums."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.reading import check_memory, guard, is_file

ADVICE = "copy or write it again"
_DEFLATE = 1032  # a byte of deflated data becomes at most this many bytes
_BLOCK = 1 << 22
_OTHER_METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd"}
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Entry:
    """An array of a file, described by its header; no number of it has been read.

    Attributes:
        path: the file.
        key: name of the array; None in an npy file, which holds one array without a name.
        shape: its shape.
        dtype: type of its numbers.
        fortran: whether the first axis is the fastest in the file.
        start: bytes before its first number.
    """

    path: Path
    key: str | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return str(self.path) if self.key is None else f"'{self.key}' of {self.path}"


def npz_entries(path: Path) -> dict[str, Entry]:
    """Return the arrays of an npz file by name; only their headers are read.

    Raises:
        EnsError: no whole zip archive, an archive that is encrypted or compressed in another way than NumPy does, an
            array of Python objects, or one whose size is not the one that its header claims.
    """
    with _archive(path) as archive:
        entries: dict[str, Entry] = {}
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                archive.open(info).close()  # a name that was damaged differs from the one before the content
                continue
            key = info.filename.removesuffix(".npy")
            if key in entries:
                raise EnsError(f"{path} holds the array '{key}' twice; {ADVICE}")
            _check_info(path, key, info)
            with archive.open(info) as stream:
                entries[key] = _read_header(stream, path, key, info.file_size)
        return entries


def npy_entry(path: Path) -> Entry:
    """Return the array of an npy file; only its header is read.

    Raises:
        EnsError: the file is damaged, holds Python objects, or has another size than its header claims.
    """
    with guard(path, "an npy file", ADVICE), path.open("rb") as stream:
        return _read_header(stream, path, None, path.stat().st_size)


def read_array(entry: Entry) -> NDArray[Any]:
    """Return one array in C order.

    Raises:
        EnsError: it does not fit into memory, or the file is damaged.
    """
    check_memory(entry.nbytes, f"reading {entry}")
    with open_numbers(entry) as stream:
        content, done = bytearray(entry.nbytes), 0
        with memoryview(content) as view:
            while done < len(view) and (got := stream.readinto(view[done : done + _BLOCK])):
                done += got
        _finish(stream, entry, done)
        if not content:
            return np.zeros(entry.shape, entry.dtype)
        flat = np.frombuffer(content, entry.dtype)
        if entry.fortran:
            return np.ascontiguousarray(flat.reshape(entry.shape[::-1]).T)
        return flat.reshape(entry.shape)


def read_npz(path: Path, keys: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of an npz file by name. Python objects are never unpickled.

    Args:
        path: the file.
        keys: names of the arrays that are read; names that the file does not hold are left out. None for all.

    Raises:
        EnsError: the file is damaged, or its arrays do not fit into memory.
    """
    entries = npz_entries(path)
    wanted = entries if keys is None else {key: entries[key] for key in keys if key in entries}
    check_memory(sum(entry.nbytes for entry in wanted.values()), f"reading {path}")
    return {key: read_array(entry) for key, entry in wanted.items()}


def check_array(entry: Entry) -> None:
    """Read an array to its end without keeping it, so that its checksum is compared.

    Raises:
        EnsError: the file is damaged.
    """
    with open_numbers(entry) as stream:
        done = 0
        while done < entry.nbytes and (block := stream.read(min(_BLOCK, entry.nbytes - done))):
            done += len(block)
        _finish(stream, entry, done)


@contextmanager
def open_numbers(entry: Entry) -> Generator[Any]:
    """Open the file of an array at its first number; errors within the block become sentences."""
    if entry.key is None:
        with guard(entry.path, "an npy file", ADVICE), entry.path.open("rb") as stream:
            stream.seek(entry.start)
            yield stream
        return
    with _archive(entry.path) as archive, archive.open(f"{entry.key}.npy") as stream:
        stream.read(entry.start)
        yield stream


@contextmanager
def _archive(path: Path) -> Generator[zipfile.ZipFile]:
    with guard(path, "an npz file", ADVICE):
        # A file that begins with something else, such as a pickle, is not what NumPy writes.
        if not is_file(path):
            raise FileNotFoundError(path)
        with path.open("rb") as stream:
            begins = stream.read(4) in (b"PK\3\4", b"PK\5\6")
        if not begins or not zipfile.is_zipfile(path):
            raise EnsError(
                f"{path} is not an npz file or was cut short (no whole zip archive); write it with"
                " numpy.savez_compressed"
            )
        with zipfile.ZipFile(path) as archive:
            yield archive


def _check_info(path: Path, key: str, info: zipfile.ZipInfo) -> None:
    """Check what the archive says about an entry before it is read."""
    again = "write it with numpy.savez_compressed"
    if info.flag_bits & 1:
        raise EnsError(f"'{key}' of {path} is encrypted; {again}")
    if info.compress_type not in _COMPRESSIONS:
        method = _OTHER_METHODS.get(info.compress_type, f"the method {info.compress_type}")
        raise EnsError(f"'{key}' of {path} is compressed with {method}, which is not read; {again}")
    largest = info.compress_size * (_DEFLATE if info.compress_type == zipfile.ZIP_DEFLATED else 1) + _DEFLATE
    if info.file_size > largest or info.compress_size > path.stat().st_size:
        raise EnsError(
            f"'{key}' of {path} claims {info.file_size} bytes, more than its {info.compress_size} compressed bytes can"
            f" hold; {ADVICE}"
        )


def _read_header(stream: IO[bytes], path: Path, key: str | None, size: int) -> Entry:
    """Read the header of an npy stream of ``size`` bytes; the stream is then at the first number."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    entry = Entry(path, key, shape, dtype, fortran and len(shape) > 1, stream.tell())
    if dtype.hasobject:
        where = "" if key is None else f" under '{key}'"
        raise EnsError(
            f"{path} holds Python objects{where}, which are never loaded because they can run code; save it as an"
            " array of numbers or of text"
        )
    if min(shape, default=0) < 0 or entry.nbytes != size - entry.start:
        raise EnsError(
            f"{entry} claims the shape {shape} of {dtype}, but {size - entry.start} bytes are there; {ADVICE}"
        )
    return entry


def _finish(stream: IO[bytes], entry: Entry, done: int) -> None:
    """Check that an array ends where the file does; the checksum of a zip entry is compared at its end only."""
    if done != entry.nbytes or stream.read(1):
        raise EnsError(f"{entry} does not hold {entry.nbytes} bytes as its header says; {ADVICE}")
