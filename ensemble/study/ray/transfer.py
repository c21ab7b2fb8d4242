"""Files on their way between machines: packed as a tar stream in parts, so that memory does not grow with them."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from ensemble.core.errors import EnsError

PART = 64 << 20  # bytes that are in memory at a time
BLOCK = 1 << 20
DATA_PARTS = ("images", "masks", "test", "groups.csv", "classes.txt")  # what is read of a folder of images

NamedFiles = Sequence[tuple[str, Path]]


@dataclass(frozen=True)
class FileBundle:
    """Files in parts that are kept elsewhere.

    Attributes:
        digest: of the names and the contents.
        parts: what ``put`` returned for each part.
    """

    digest: str
    parts: tuple[Any, ...]


class _Parts:
    """A file to write to, handed on part by part."""

    def __init__(self, put: Callable[[bytes], Any]) -> None:
        self._put = put
        self._parts: list[Any] = []
        self._hash = hashlib.blake2b(digest_size=16)
        self._waiting = bytearray()

    def write(self, content: bytes) -> int:
        self._hash.update(content)
        self._waiting += content
        if len(self._waiting) >= PART:
            self._hand_on()
        return len(content)

    def parcel(self) -> FileBundle:
        self._hand_on()
        return FileBundle(self._hash.hexdigest(), tuple(self._parts))

    def _hand_on(self) -> None:
        self._parts.append(self._put(bytes(self._waiting)))
        self._waiting.clear()


class _Joined:
    """A file to read from, joined from its parts."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)
        self._part = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._part:
            part = next(self._parts, None)
            if part is None:
                return b""
            self._part = memoryview(part)
        content, self._part = self._part[:size], self._part[size:]
        return bytes(content)


def pack(files: NamedFiles, put: Callable[[bytes], Any]) -> FileBundle:
    """Pack files under their names, in the given order; ``put`` keeps a part and returns where.

    Raises:
        OSError: a file is gone or cannot be read.
    """
    stream = _Parts(put)
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="w|", bufsize=BLOCK) as archive:
        for name, path in files:
            with path.open("rb") as content:
                entry = tarfile.TarInfo(name)  # without times and owners the digest is that of names and contents
                entry.size = os.fstat(content.fileno()).st_size
                archive.addfile(entry, content)
    return stream.parcel()


def unpack(parcel: FileBundle, get: Callable[[Any], bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents in the order they were packed; ``get`` fetches a part.

    Raises:
        EnsError: a name that points out of the folder it is unpacked in.
    """
    joined = cast(IO[bytes], _Joined(map(get, parcel.parts)))
    with tarfile.open(fileobj=joined, mode="r|", bufsize=BLOCK) as archive:
        for entry in archive:
            name = PurePosixPath(entry.name)
            content = archive.extractfile(entry)
            if name.is_absolute() or ".." in name.parts or content is None:
                raise EnsError(f"expected files of a folder, got '{entry.name}'; another program wrote this parcel")
            yield entry.name, content


def files_of(path: Path) -> NamedFiles:
    """A file, or what is read of a folder of images, under names that begin with its own."""
    root = path.name or path.resolve().name
    if path.is_file():
        return [(root, path)]
    files = [file for part in DATA_PARTS for file in (path / part, *sorted((path / part).glob("*"))) if file.is_file()]
    return [(f"{root}/{file.relative_to(path).as_posix()}", file) for file in files]


def state_of(member: Path) -> NamedFiles:
    """What an unfinished member goes on from, in an order that is safe to read while it is trained.

    Checkpoints come first: one that is gone by then was followed by weights, which are read later. Predictions are
    made again, and files with a dot are of the process that writes them.
    """
    files = (file for file in member.glob("*") if file.is_file() and not file.name.startswith("."))
    return _status_last(sorted((file.name, file) for file in files))


def whole(member: Path) -> NamedFiles:
    """Every file of a finished member."""
    files = ((file.relative_to(member).as_posix(), file) for file in member.rglob("*") if file.is_file())
    return _status_last(sorted((name, file) for name, file in files if not file.name.startswith(".")))


def _status_last(files: NamedFiles) -> NamedFiles:
    """A member is complete when its status says so, so that the status arrives when everything else has."""
    return sorted(files, key=lambda pair: pair[0] == "status.json")
