"""Read texts, tables and TOML in the encodings that people's programs write."""

from __future__ import annotations

import codecs
import csv
import io
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.reading import TEXT_BYTES, guard, read_bytes

# The marks of UTF-32 come first, because that of UTF-16 is the beginning of one of them.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f]")  # control characters that are no white space
_SEPARATORS = (",", ";", "\t")
csv.field_size_limit(TEXT_BYTES)  # runs of pixels are longer than the 128 kB that Python allows


@dataclass(frozen=True)
class Table:
    """A table of texts: the names of its columns, and a row per line; all texts are stripped."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]


def read_text(path: Path, kind: str = "text") -> str:
    """Return a text in UTF-8, in UTF-16 or UTF-32 with a byte order mark, or in Windows' cp1252.

    Raises:
        EnsError: the file cannot be read, or has another encoding.
    """
    advice = "save it as UTF-8"
    content = read_bytes(path, kind, "check the path and the file", TEXT_BYTES)
    marked = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None)
    with guard(path, kind, advice):
        if marked is not None:
            return content.decode(marked)
        if (found := _NO_TEXT.search(content)) is not None:
            hint = ", or UTF-16 without a byte order mark" if found[0] == b"\0" else ""
            raise EnsError(f"{path} is not text{hint} (it holds the byte {found[0][0]}); save it as UTF-8")
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            pass
        try:
            return content.decode("cp1252")
        except UnicodeDecodeError:
            raise EnsError(f"{path} is text in neither UTF-8 nor cp1252; save it as UTF-8") from None


def read_toml(path: Path, advice: str) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        EnsError: the file cannot be read, or is not TOML; ``advice`` says in the text what to do.
    """
    text = read_text(path, "TOML")
    with guard(path, "TOML", advice):
        return tomllib.loads(text)


def read_table(path: Path, wanted: Sequence[str], advice: str) -> Table:
    """Return a table whose first line names its columns, separated by commas, semicolons or tabs.

    The separator is the one that gives most of the columns ``wanted``, in any capitals; the comma wins a tie.

    Args:
        path: the file.
        wanted: columns that the caller looks for.
        advice: what to do if the file cannot be read.

    Raises:
        EnsError: the file cannot be read, names a column twice, or a line has more values than columns.
    """
    text = read_text(path, "CSV")
    with guard(path, "CSV", advice):
        read = {mark: _first_row(text, mark, wanted) for mark in _SEPARATORS}
        separator = max(_SEPARATORS, key=lambda mark: len(set(read[mark]) & set(wanted)))
        columns = read[separator]
        twice = next((name for name in columns if name and columns.count(name) > 1), None)
        if twice is not None:
            raise EnsError(f"{path} names the column '{twice}' twice; rename one of the two")
        rows: list[dict[str, str]] = []
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        for number, line in enumerate(lines):
            if number == 0 or not line:
                continue
            if any(value.strip() for value in line[len(columns) :]):
                raise EnsError(
                    f"expected {len(columns)} values in line {lines.line_num} of {path}, as in its first line, got"
                    f" {len(line)}; put texts that hold '{separator}' in quotes"
                )
            rows.append({name: value.strip() for name, value in zip(columns, line, strict=False)})
        return Table(columns, tuple(rows))


def _first_row(text: str, separator: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns; those that differ from ``wanted`` ones only in capitals get their spelling."""
    first = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
    names = [name.strip() for name in first]
    spelling = {name.lower(): name for name in wanted if name not in names}
    return tuple(spelling.get(name.lower(), name) for name in names)
