"""The rows of a folder of runs, read once and kept in an index that is never trusted blindly.

The index is one file in the folder, a digest of itself in its first line. A row in it counts only while the four files
it was made of (`rows.FILES`) have the times, sizes and inodes they had; a file that changed within the last moments
before it was read could change again unnoticed within one progress of the file system's clock, so its row is not kept.
Without the index, with a damaged one, or in a folder that cannot be written, rows are read from the runs themselves.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.files import digest, write_bytes
from ensemble.core.progress import Progress, no_progress
from ensemble.results.columns import COLUMNS
from ensemble.results.rows import FILES, Row, read_row

FILE = ".results-index"
KINDS = ("members", "ensembles")
VERSION = f"1 {digest(*COLUMNS, *(column.dtype for column in COLUMNS.values()))}"  # another table, another index

WORTH_WRITING = 100  # rows read anew from which on writing an index is cheaper than reading them again
SETTLED_NS = 2_000_000_000  # the coarsest clock of a file system (FAT) ticks every two seconds

Key = list[list[int] | None]  # times, size and inode of each file


@dataclass
class Entry:
    """A run in the index: what its files looked like, and its row; None for an unfinished run."""

    key: Key
    row: Row | None


@dataclass
class Found:
    """What a folder holds: rows by kind and name, and a sentence for each run that cannot be read."""

    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    problems: list[str] = field(default_factory=list)


def find_rows(root: Path, progress: Progress = no_progress) -> Found:
    """Rows of all finished runs in ``root``, from the index where it is right and from the runs where it is not."""
    known, entries, found = _read(root / FILE), dict[str, Entry](), Found()
    names = [(kind, name) for kind in KINDS for name in _directories(root / kind)]
    read = 0
    for done, (kind, name) in enumerate(names):
        place, settled = f"{kind}/{name}", time.time_ns() - SETTLED_NS
        try:
            key = _key(f"{root}/{place}")
            if key is None:  # no status.json: not a run
                continue
            entry = known.get(place)
            if entry is None or entry.key != key:
                entry = Entry(key, read_row(root / place))
                read += 1
                if read >= WORTH_WRITING:  # a few take no time worth a bar
                    progress("reading runs", done, len(names))
        except EnsError as error:
            found.problems.append(str(error))
            continue
        if _changed(key) < settled:
            entries[place] = entry
        if entry.row is not None:
            found.rows[kind][name] = entry.row
    if read >= WORTH_WRITING:
        progress("reading runs", len(names), len(names))
        _write(root / FILE, entries)
    return found


def _directories(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208  (Path is slow)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise EnsError(f"{folder} cannot be read ({error.strerror}); allow it, or give another --runs") from None


def _key(path: str) -> Key | None:
    """What tells that a file is another one than before; None where there is no status, so no run."""
    key: Key = []
    for name in FILES:
        try:
            found = os.stat(f"{path}/{name}")  # noqa: PTH116  (40,000 of them: Path takes four times as long)
        except (FileNotFoundError, NotADirectoryError):
            if name == FILES[0]:
                return None
            key.append(None)
        except OSError as error:
            raise EnsError(f"{path}/{name} cannot be read ({error.strerror}); allow it, or move it away") from None
        else:
            key.append([found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino])
    return key


def _changed(key: Key) -> int:
    """When the youngest of the files changed."""
    return max(time_ns for file in key if file is not None for time_ns in file[:2])


def _read(path: Path) -> dict[str, Entry]:
    try:
        own, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return {}
    if own.decode(errors="replace") != digest(VERSION, body):
        return {}
    content: dict[str, Any] = json.loads(body)
    columns = content["columns"]
    return {
        place: Entry(key, None if values is None else dict(zip(columns, values, strict=True)))
        for place, key, values in content["entries"]
    }


def _write(path: Path, entries: dict[str, Entry]) -> None:
    columns = list(dict.fromkeys(key for entry in entries.values() for key in entry.row or ()))
    rows = [
        (place, entry.key, None if entry.row is None else [entry.row.get(column) for column in columns])
        for place, entry in entries.items()
    ]
    body = json.dumps({"columns": columns, "entries": rows}, separators=(",", ":")).encode()
    try:
        write_bytes(path, digest(VERSION, body).encode() + b"\n" + body)
    except EnsError:  # a folder that can only be read: the next one reads the runs again
        return
