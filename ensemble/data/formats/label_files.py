"""Read files that name the values of masks: tables of colours or ids, numbered lists, and JSON."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ensemble.core.texts import read_text
from ensemble.data.description import MAX_VALUE, Value
from ensemble.data.formats.names import numbered

_TELLING = ("class", "label", "name", "color", "colour", "code", "legend", "palette", "categor", "map", "meta")
_DIGITS = 5
_RGB = re.compile(r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\D.*)")
_NAME_RGB = re.compile(r"(.*?[^\d\s,;:])[\s,;:]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\s*(?::.*)?")
Pairs = list[tuple[str, Value]]


def read_label_file(path: Path, *, colours: bool) -> Pairs:
    """Return names and values of a file, ids in ascending order, or nothing if it holds something else.

    Args:
        path: the file.
        colours: return names of colours, else names of ids.

    Raises:
        EnsError: it is no text.
    """
    text = read_text(path)
    if path.suffix.lower() == ".json":
        pairs = _json(text)
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        pairs = _table(lines) or _coloured(lines)
        if not pairs and not colours:
            pairs = _listed(lines, plain=path.suffix.lower() == ".txt")
    if not colours and not any(word in path.name.lower() for word in _TELLING):
        return []  # ids of images or settings look like ids of classes
    kept = [(name, value) for name, value in pairs if name and isinstance(value, str) == colours]
    return kept if colours else sorted(kept, key=lambda pair: pair[1])


def _table(lines: Sequence[str]) -> Pairs:
    """Return what a table with a header says: the columns name, and r, g and b, or id."""
    header = lines[0].lower() if lines else ""
    mark = max(",;\t", key=header.count)
    if mark not in header:
        return []
    try:
        rows = list(csv.reader(lines, delimiter=mark, skipinitialspace=True))
    except csv.Error:
        return []
    columns = [cell.strip().lower() for cell in rows[0]]
    name = _column(columns, ("name", "class", "class_name", "classname", "label", "label_name", "category"))
    bands = [_column(columns, names) for names in (("r", "red"), ("g", "green"), ("b", "blue"))]
    number = _column(columns, ("id", "index", "value", "label_id", "class_id", "label_values", "code"))
    if name is None:
        return []
    if all(band is not None for band in bands):
        cells = [[row[band] for band in bands if band is not None and band < len(row)] for row in rows[1:]]
        return [
            (row[name].strip(), colour)
            for row, three in zip(rows[1:], cells, strict=True)
            if name < len(row) and (colour := _colour(three))
        ]
    if number is None:
        return []
    kept = [row for row in rows[1:] if max(name, number) < len(row) and _is_id(row[number].strip())]
    return [(row[name].strip(), int(row[number])) for row in kept]


def _column(columns: Sequence[str], names: Iterable[str]) -> int | None:
    return next((columns.index(name) for name in names if name in columns), None)


def _coloured(lines: Sequence[str]) -> Pairs:
    """Return what lines with three numbers and a name say, in either order; CVAT writes ``name:r,g,b:parts:``."""
    pairs: Pairs = []
    for line in lines:
        if found := _RGB.fullmatch(line):
            name, colour = found[4], _colour(found.groups()[:3])
        elif found := _NAME_RGB.fullmatch(line):
            name, colour = found[1], _colour(found.groups()[1:])
        else:
            return []
        if not colour:
            return []
        pairs.append((name.strip(), colour))
    return pairs


def _colour(numbers: Sequence[Any]) -> str:
    """Return three numbers as ``#rrggbb``, or nothing if they are no colour."""
    texts = [str(number).strip() for number in numbers]
    if len(texts) != 3 or not all(_is_id(text) and int(text) <= 255 for text in texts):
        return ""
    red, green, blue = map(int, texts)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _listed(lines: Sequence[str], *, plain: bool) -> Pairs:
    """Return numbered names, or the names of the ids 0, 1, 2 ...; a first line ``__ignore__`` has no id."""
    if (names := numbered(lines)) is not None:
        return [(name, number) for number, name in names.items() if number <= MAX_VALUE]
    if not plain or any(_RGB.fullmatch(line) or _NAME_RGB.fullmatch(line) for line in lines):
        return []
    first = 1 if lines and lines[0].strip("_").lower() == "ignore" else 0
    return [(name, number) for number, name in enumerate(lines[first:])]


def _is_id(text: str) -> bool:
    return text.isdecimal() and len(text) <= _DIGITS and int(text) <= MAX_VALUE


def _json(text: str) -> Pairs:
    """Return what JSON says: {id: name}, {name: id or colour}, or a list of objects with a name and an id or colour."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if isinstance(content, dict) and isinstance(content.get("classes"), list | dict):
        content = content["classes"]  # Supervisely's meta.json
    if isinstance(content, dict):
        pairs = [_entry(str(key), value) for key, value in content.items()]
    elif isinstance(content, list):
        pairs = [_object(each) for each in content]
    else:
        return []
    return [pair for pair in pairs if pair] if all(pairs) else []


def _entry(key: str, value: Any) -> tuple[str, Value] | None:
    if _is_id(key) and isinstance(value, str):
        return value.strip(), int(key)
    given = _value(value)
    return None if given is None else (key.strip(), given)


def _object(each: Any) -> tuple[str, Value] | None:
    if not isinstance(each, dict):
        return None
    name = next((each[key] for key in ("name", "title", "label", "class") if isinstance(each.get(key), str)), None)
    given = (_value(each.get(key)) for key in ("color", "colour", "rgb", "id", "value", "index"))
    value = next((value for value in given if value is not None), None)
    return None if name is None or value is None else (name.strip(), value)


def _value(value: Any) -> Value | None:
    """Return an id or a colour, or None."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_VALUE:
        return value
    if isinstance(value, list):
        return _colour(value) or None
    if isinstance(value, str) and re.fullmatch(r"#?[0-9a-fA-F]{6}", value):
        return f"#{value.removeprefix('#').lower()}"
    return None
