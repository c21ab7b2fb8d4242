"""Find files by a pattern such as ``train/{id}_mask.png``, in which ``{id}`` is what images and masks share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_folder
from ensemble.data.formats.image_files import SUFFIXES
from ensemble.data.formats.names import plain_name

_ID = "{id}"
SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX")  # written by file managers
_ENDINGS = rf"\.(?i:{'|'.join(suffix[1:] for suffix in SUFFIXES)})"


@dataclass
class Found:
    """What a pattern finds.

    Attributes:
        files: the files of each id, in sorted order.
        others: files and folders in the last folders of the pattern that do not fit it.
    """

    files: dict[str, list[Path]] = field(default_factory=dict[str, list[Path]])
    others: set[Path] = field(default_factory=set[Path])


def find_files(root: Path, pattern: str) -> Found:
    """Return the files that fit a pattern; hidden files and folders are ignored.

    Args:
        root: the folder below which the pattern is meant.
        pattern: a relative path with ``{id}`` once or more often, ``*`` for any text of a name, and ``.*`` at the end
            for the ending of any image.

    Raises:
        EnsError: a pattern without ``{id}``, or one that leaves the root.
    """
    parts = PurePosixPath(pattern).parts
    if _ID not in pattern or ".." in parts or pattern.startswith("/"):
        raise EnsError(f"expected a pattern below the root that holds {_ID}, such as images/{_ID}.png, got {pattern}")
    found = Found()
    for path, name in _walk(root, parts, None, found):
        found.files.setdefault(plain_name(name), []).append(path)
    return found


def _walk(folder: Path, parts: tuple[str, ...], name: str | None, found: Found) -> Iterator[tuple[Path, str]]:
    """Yield the files below a folder that fit the rest of a pattern, with their ids."""
    regex = re.compile(_regex(parts[0], name, last=len(parts) == 1))
    for entry in sorted(folder.iterdir()) if is_folder(folder) else []:
        hidden, last = entry.name.startswith("."), len(parts) == 1
        match = None if hidden else regex.fullmatch(entry.name)
        if match is None or (last and is_folder(entry)):
            if last and entry.name not in SYSTEM_FILES and not entry.name.startswith("._"):
                found.others.add(entry)
            continue
        known = match.groupdict().get("id") or name
        if last:
            assert known is not None
            yield entry, known
        elif is_folder(entry):
            yield from _walk(entry, parts[1:], known, found)


def _regex(part: str, name: str | None, *, last: bool) -> str:
    """Return the expression for one name of a path; ``name`` is the id if a folder above has given it."""
    ending = last and part.endswith(".*")
    text = part.removesuffix(".*") if ending else part
    first = rf"(?P<id>{re.escape(name)})" if name is not None else r"(?P<id>.+)"
    pieces = text.split(_ID)
    regex = re.escape(pieces[0]).replace(r"\*", ".*")
    for number, piece in enumerate(pieces[1:]):
        regex += (first if number == 0 else r"(?P=id)") + re.escape(piece).replace(r"\*", ".*")
    return regex + (_ENDINGS if ending else "")
