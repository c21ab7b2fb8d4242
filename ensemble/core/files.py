"""Write files that are either whole or absent (temporary name, sync, rename); check folders, disks and digests."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from ensemble.core.errors import EnsError
from ensemble.core.reading import TEXT_BYTES, guard, is_file, is_folder, read_bytes
from ensemble.core.temporary import temporary_file

LONGEST_NAME = 255  # bytes that file systems allow


@contextmanager
def atomic(path: Path) -> Generator[IO[bytes]]:
    """Open a binary file that appears at ``path`` only when the block ends without an error; it can be read, too.

    What a killed process left of the same file is removed.

    Raises:
        EnsError: the disk is full, the folder cannot be written, or ``path`` is a device; nothing is left behind.
    """
    _check_replaceable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(path) as (handle, temporary):
            with os.fdopen(handle, "w+b") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
            sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise EnsError(f"cannot write {path}: {reason}; choose another folder, or free disk space") from error


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable; do nothing on Windows, where folders cannot be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_folder(path: Path) -> None:
    """Check that ``path`` is or can become a folder with files in it, before any work is done.

    Raises:
        EnsError: the nearest existing parent is not a folder, or is read-only, or a name is too long.
    """
    existing = _existing(path)
    check_names(path)
    if not existing.is_dir() or not os.access(existing, os.W_OK) or not _takes_files(existing):
        raise EnsError(
            f"expected a folder that can be written for {path}, but {existing} is not; choose another folder"
        )


def check_file(path: Path) -> None:
    """Check that ``path`` is or can become a file, before any work is done.

    Raises:
        EnsError: it is a folder or a device, or its folder cannot be written.
    """
    if is_folder(path):
        raise EnsError(f"expected a file to write, got the folder {path}; pass a file in it")
    _check_replaceable(path)
    check_folder(path.absolute().parent)
    check_names(path)


def _check_replaceable(path: Path) -> None:
    """Refuse devices and pipes: a new file would take their place."""
    with suppress(OSError):  # a name that is too long has its own sentence
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise EnsError(f"expected a file to write, got {path}, which is a device or a pipe; choose another name")


def _takes_files(folder: Path) -> bool:
    """Return whether a file can be made in a folder; ``os.access`` says yes to root in folders like ``/proc``."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)  # a full disk has its own sentence


def check_names(path: Path) -> None:
    """Check that no part of a path is longer than file systems allow.

    Raises:
        EnsError: one is; the text shows its beginning.
    """
    long = next((part for part in path.parts if len(os.fsencode(part)) > LONGEST_NAME), None)
    if long is not None:
        raise EnsError(
            f"expected names of at most {LONGEST_NAME} bytes, got '{long[:40]}...' of {len(os.fsencode(long))} bytes;"
            " choose a shorter one"
        )


def check_disk(path: Path, needed: float, purpose: str) -> None:
    """Check that the disk of ``path``, which need not exist yet, has room for ``needed`` bytes.

    Raises:
        EnsError: the disk has less free space; ``purpose`` names in the text what needs it.
    """
    free = free_disk(path)
    if free < needed:
        raise EnsError(
            f"expected {needed / 1e6:.0f} MB of free disk for {purpose}, got {free / 1e6:.0f} MB in {_existing(path)};"
            " free disk space or choose another folder"
        )


def free_disk(path: Path) -> int:
    """Return the free bytes of the disk of ``path``, which need not exist yet."""
    return shutil.disk_usage(_existing(path)).free


def _existing(path: Path) -> Path:
    """Return the nearest folder above ``path`` that exists, or ``path`` itself."""
    existing = path.absolute()
    while not is_file(existing) and not is_folder(existing):
        existing = existing.parent
    return existing


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` atomically."""
    with atomic(path) as stream:
        stream.write(content)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` atomically as the JSON of `json_text`."""
    write_bytes(path, json_text(content).encode())


def json_text(content: Any) -> str:
    """Return ``content`` as indented JSON; NaN becomes null, so that any reader can parse it."""
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        EnsError: the file is missing or broken.
    """
    if not is_file(path) and not is_folder(path):
        raise EnsError(f"{path} is missing; the directory is incomplete, create it again")
    advice = "the directory is damaged, create it again"
    with guard(path, "JSON", advice):
        return json.loads(read_bytes(path, "JSON", advice, TEXT_BYTES).decode())


def read_object(path: Path, read: Callable[[Path], Any] = read_json) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object.

    Args:
        path: the file.
        read: function that reads it, for files that may be parts of others.

    Raises:
        EnsError: the file is missing or broken, or holds something else.
    """
    content = read(path)
    if not isinstance(content, dict):
        raise EnsError(f"{path} is damaged (no JSON object); make the directory again")
    return cast("dict[str, Any]", content)


SEAL = "digest"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON content with a digest of itself; see `is_sealed`."""
    plain = cast(dict[str, Any], _plain({name: value for name, value in content.items() if name != SEAL}))
    return plain | {SEAL: digest(json.dumps(plain, sort_keys=True))}


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Return whether the content of a JSON file is what `sealed` returned.

    >>> is_sealed(sealed({"state": "complete"})), is_sealed(sealed({"state": "complete"}) | {"seconds": 3})
    (True, False)
    """
    fields = {name: value for name, value in content.items() if name != SEAL}
    return content.get(SEAL) == digest(json.dumps(fields, sort_keys=True))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def digest(*parts: bytes | memoryview | str) -> str:
    """Return the hexadecimal BLAKE2b digest (128 bit) of the parts, each preceded by its length."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        view = memoryview(part.encode() if isinstance(part, str) else part)
        raw = view.cast("B") if view.nbytes else b""  # views of arrays without elements cannot be cast
        state.update(len(raw).to_bytes(8, "little"))
        state.update(raw)
    return state.hexdigest()


def file_digest(path: Path) -> str:
    """Return the hexadecimal BLAKE2b digest (128 bit) of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def check_archive(path: Path) -> None:
    """Compare every entry of a zip archive with its stored checksum.

    Raises:
        zipfile.BadZipFile: the file is not a zip archive, or an entry differs from its checksum.
        OSError: the file cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        if (entry := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of {entry} differs")
