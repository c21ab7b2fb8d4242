"""Files that are either whole or absent: written under a temporary name, synced, then renamed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ensemble.core.errors import EnsError


@contextmanager
def atomic(path: Path) -> Generator[IO[bytes]]:
    """Open a binary file that appears at ``path`` only when the block ends without an error.

    Raises:
        EnsError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise EnsError(f"cannot write {path}: {error.strerror or error}; choose another place or free some") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable (a no-op where folders cannot be opened, as on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` atomically."""
    with atomic(path) as stream:
        stream.write(content)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` atomically as indented JSON; NaN becomes null, so that any reader can parse it."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; a missing or broken file is an :class:`EnsError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EnsError(f"{path} is missing; the directory is incomplete, make it again") from None
    except (OSError, ValueError) as error:
        raise EnsError(f"{path} cannot be read ({error}); the directory is damaged, make it again") from None


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
    """Hexadecimal BLAKE2b (128 bit) of the parts, each preceded by its length."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        view = memoryview(part.encode() if isinstance(part, str) else part)
        raw = view.cast("B") if view.nbytes else b""  # views of arrays without elements cannot be cast
        state.update(len(raw).to_bytes(8, "little"))
        state.update(raw)
    return state.hexdigest()


def file_digest(path: Path) -> str:
    """Hexadecimal BLAKE2b (128 bit) of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def check_archive(path: Path) -> None:
    """Compare every entry of a zip archive with the checksum stored beside it.

    Raises:
        zipfile.BadZipFile: no archive, or an entry that differs.
        OSError: the file cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        if (entry := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of {entry} differs")
