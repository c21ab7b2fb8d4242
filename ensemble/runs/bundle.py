"""A bundle: one zip archive with the files of a member or an ensemble that predicting needs, and a digest of each.

Its parts lie as in a folder of runs: ``ensembles/learned-3/config.json``, ``members/unet-ce-s0-7ca07c/...``. So a run
is read from a folder or from a bundle alike, see `ensemble.runs.run_files`. ``bundle.json`` holds the digest of each
part, and the comment of the archive that of all other bytes, so that no byte can be changed unseen. Nothing in a bundle
is code, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import zipfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

from ensemble.core.errors import EnsError
from ensemble.core.files import is_sealed
from ensemble.core.reading import TEXT_BYTES, check_memory, guard, is_file
from ensemble.runs.layout import BUNDLE_MANIFEST, is_name

BUNDLE_FORMAT = 1
"""Version of the bundles that this version writes, and the only one that it reads."""

_ADVICE = "copy it again, or make it again with `ens bundle`"
_MARK = b"ens bundle, format "
_COMMENT = re.compile(re.escape(_MARK) + rb"(\d{3}) ([0-9a-f]{32})")
COMMENT_BYTES = len(_MARK) + 3 + 1 + 32
"""Length of the comment of the archive."""

BLOCK = 1 << 22
"""Bytes that are read at once."""

_LOCAL_HEADER = 30  # bytes of the head of an entry before its name
_DEFLATE = 1032  # a byte of deflated data becomes at most this many bytes


@dataclass(frozen=True)
class Bundle:
    """A bundle that was opened: every part has the digest that it should have.

    Attributes:
        path: the file.
        about: content of ``bundle.json``: what a model card says, and what predicting needs in addition to the run.
        model: its member or ensemble, as a directory below the file.
        digests: digest of each part by its name, such as ``members/unet-ce-s0-7ca07c/config.json``.
    """

    path: Path
    about: Mapping[str, Any]
    model: Path
    digests: Mapping[str, str]

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return the content of a part of at most ``limit`` bytes (None for what fits into memory).

        Raises:
            EnsError: the bundle does not hold it.
        """
        if name not in self.digests:
            raise EnsError(f"{self.path} does not hold {name}, which this needs; use the run that it was made of")
        with _opened(self.path) as (_, archive):
            return _content(archive, archive.getinfo(name), limit)


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and compare every byte with its digests; one that was opened before is opened at once.

    Raises:
        EnsError: no such file, no bundle, one that is damaged or was changed, or one of a newer format.
    """
    with guard(path, "a bundle", _ADVICE):
        if not is_file(path):
            raise FileNotFoundError(path)
        state = path.stat()
        return _open(path, path.absolute(), (state.st_ino, state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=8)
def _open(path: Path, place: Path, state: tuple[int, ...]) -> Bundle:
    del place, state  # a file that was replaced, or the same name in another working directory, is opened again
    with _opened(path) as (stream, archive):
        infos, end = archive.infolist(), _check_comment(path, stream, archive)
        if len({info.filename for info in infos}) != len(infos) or frame_digest(stream, infos, end) != _seal(archive):
            raise _changed(path)
        about: Any = json.loads(_content(archive, archive.getinfo(BUNDLE_MANIFEST), TEXT_BYTES).decode())
        if not isinstance(about, dict) or not is_sealed(cast("dict[str, Any]", about)):
            raise _changed(path)
        about = cast("dict[str, Any]", about)
        digests: dict[str, str] = about["files"]
        found = {info.filename: _part_digest(archive, info) for info in infos if info.filename != BUNDLE_MANIFEST}
        if found != digests:
            raise _changed(path)
        kind, _, name = str(about["model"]).partition("/")
        if kind not in ("members", "ensembles") or not is_name(name):
            raise _changed(path)
        return Bundle(path, about, path / kind / name, {**digests, BUNDLE_MANIFEST: ""})


@contextmanager
def _opened(path: Path) -> Generator[tuple[IO[bytes], zipfile.ZipFile]]:
    """Open the archive; whatever is wrong with it becomes a sentence."""
    with guard(path, "a bundle", _ADVICE), path.open("rb") as stream:
        if stream.read(4) != b"PK\3\4":
            raise EnsError(f"{path} is no bundle (no zip archive); give a file that `ens bundle` wrote")
        if not zipfile.is_zipfile(stream):
            raise EnsError(f"{path} was cut short or is damaged (the end of the archive is missing); {_ADVICE}")
        with zipfile.ZipFile(stream) as archive:
            yield stream, archive


def _check_comment(path: Path, stream: IO[bytes], archive: zipfile.ZipFile) -> int:
    """Return where the comment of the archive begins, which is the end of what it is a digest of."""
    if not archive.comment.startswith(_MARK):
        raise EnsError(f"{path} is a zip archive, but no bundle; give a file that `ens bundle` wrote")
    end = stream.seek(0, os.SEEK_END) - len(archive.comment)
    stream.seek(end)
    parts = _COMMENT.fullmatch(archive.comment)
    if parts is None or stream.read() != archive.comment:
        raise _changed(path)
    if (version := int(parts[1])) != BUNDLE_FORMAT:
        raise EnsError(
            f"{path} has the format {version} of bundles, but this version reads format {BUNDLE_FORMAT}; upgrade"
            " ens-toolkit, or make it again with `ens bundle`"
        )
    return end


def comment_of(found: str) -> bytes:
    """Return the comment of an archive whose bytes, but the comment and what is stored as it is, have this digest."""
    return _MARK + f"{BUNDLE_FORMAT:03d} {found}".encode()


def _seal(archive: zipfile.ZipFile) -> str:
    return archive.comment[-32:].decode()


def _changed(path: Path) -> EnsError:
    return EnsError(f"{path} differs from what `ens bundle` wrote (damaged or edited); {_ADVICE}")


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int | None = None) -> bytes:
    """Return the content of a part, whose size is checked first."""
    _check_size(info, limit)
    check_memory(info.file_size, f"{info.filename} of the bundle")
    return archive.read(info)


def _check_size(info: zipfile.ZipInfo, limit: int | None = None) -> None:
    largest = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else _DEFLATE) + _DEFLATE
    if info.file_size > min(largest, limit or largest):
        raise zipfile.BadZipFile(f"{info.filename} claims {info.file_size} bytes")


def _part_digest(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """Return the digest of a part, as that of a file."""
    _check_size(info)
    state = hashlib.blake2b(digest_size=16)
    with archive.open(info) as stream:
        while block := stream.read(BLOCK):
            state.update(block)
    return state.hexdigest()


def frame_digest(stream: IO[bytes], infos: Iterable[zipfile.ZipInfo], end: int) -> str:
    """Return the digest of all bytes before ``end``, except the contents of parts that are stored as they are."""
    state, at = hashlib.blake2b(digest_size=16), 0

    def take(first: int, last: int) -> None:
        if not first <= last <= end:
            raise zipfile.BadZipFile("its parts overlap")
        stream.seek(first)
        for size in (min(BLOCK, last - place) for place in range(first, last, BLOCK)):
            state.update(stream.read(size))

    for info in sorted(infos, key=lambda one: one.header_offset):
        if info.compress_type == zipfile.ZIP_STORED:
            stream.seek(info.header_offset)
            name, extra = struct.unpack("<HH", stream.read(_LOCAL_HEADER)[-4:])
            first = info.header_offset + _LOCAL_HEADER + name + extra
            take(at, first)
            at = first + info.file_size
    take(at, end)
    return state.hexdigest()
