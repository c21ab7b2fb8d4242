"""Check the names of classes and groups, wherever they come from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file
from ensemble.core.texts import read_table, read_text
from ensemble.core.void import VOID

_NUMBERED = re.compile(r"(\d{1,5})\s*(?:[:,;=.\t ]|->)\s*(\D.*)")


def plain_name(name: str) -> str:
    """Return a name in the one Unicode form that names are compared in; macOS writes "ü" as "u" and two dots."""
    return unicodedata.normalize("NFC", name)


def class_names(names: Sequence[str], where: str) -> dict[int, str]:
    """Return class names by id.

    Args:
        names: a name per class, in the order of the ids.
        where: the file that holds them, for messages.

    Raises:
        EnsError: no name, an empty one, one that occurs twice, or more than there are ids.
    """
    if not names or any(not name.strip() for name in names) or len({name.strip() for name in names}) != len(names):
        plain = [name.strip() for name in names]
        twice = next((name for name in filter(None, plain) if plain.count(name) > 1), None)
        reason = f"'{twice}' occurs twice" if twice else "one is empty" if names else "there is none"
        raise EnsError(f"expected one different class name per line in {where}, but {reason}; name every class once")
    if len(names) > VOID:
        raise EnsError(f"expected at most {VOID} class names in {where} (the id {VOID} is void), got {len(names)}")
    return dict(enumerate(names))


def read_class_names(path: Path) -> dict[int, str] | None:
    """Return the class names of a file with a name per line, or None if there is no such file."""
    if not is_file(path):
        return None
    lines = [line for text in read_text(path).splitlines() if (line := text.strip())]
    names = numbered(lines)
    if names is None:
        return class_names(lines, str(path))
    if sorted(names) != list(range(len(names))):
        raise EnsError(
            f"expected the class names in {path} to have the numbers 0, 1, 2 ..., got {', '.join(map(str, names))};"
            " list the values of each class in a table [classes] of a description"
        )
    return class_names([names[number] for number in sorted(names)], str(path))


def numbered(lines: Sequence[str]) -> dict[int, str] | None:
    """Return the names by number if every line begins with a different number, else None.

    If the rest of all lines is the same, as of "1 Euro" and "2 Euro", the numbers belong to the names.

    >>> numbered(["0: sky", "38,road"])
    {0: 'sky', 38: 'road'}
    """
    found = [_NUMBERED.fullmatch(line.strip()) for line in lines]
    names = {int(match[1]): match[2].strip() for match in found if match}
    if not names or len(names) != len(lines) or (len(lines) > 1 and len(set(names.values())) == 1):
        return None
    return names


def read_groups(path: Path, stems: Sequence[str], suffixes: Sequence[str]) -> tuple[str, ...] | None:
    """Return the group of each image from a table with the columns id and group, or None if there is no such file.

    Args:
        path: the table.
        stems: names of the images without their ending.
        suffixes: endings that the ids of the table may have.

    Raises:
        EnsError: columns are missing, an image has no group, or two.
    """
    if not is_file(path):
        return None
    groups = _group_table(path, stems, suffixes)
    missing = next((stem for stem in stems if not groups.get(stem)), None)
    if missing in groups:
        raise EnsError(f"{path} has an empty group for the image {missing}; fill it in")
    if missing is not None and any(missing.lstrip("0") == key.lstrip("0") for key in groups):
        raise EnsError(
            f"{path} has no group for the image {missing}, but one for {missing.lstrip('0') or '0'}: a spreadsheet"
            " drops leading zeros; save the column id as text"
        )
    if missing is not None:
        raise EnsError(f"{path} has no group for the image {missing}; add a row for it")
    return tuple(groups[stem] for stem in stems)


def unknown_ids(path: Path, stems: Sequence[str], suffixes: Sequence[str]) -> tuple[str, ...]:
    """Return a note on the rows of a table of groups whose id no image has; arguments are as for `read_groups`."""
    known = set(stems)
    lost = [key for key in _group_table(path, stems, suffixes) if key not in known]
    if not lost:
        return ()
    rows = "1 id" if len(lost) == 1 else f"{len(lost)} ids"
    return (f"{path.name} has {rows} that no image has, the first is {lost[0]}",)


def _group_table(path: Path, stems: Sequence[str], suffixes: Sequence[str]) -> dict[str, str]:
    """Return the group of each id of a table."""
    table = read_table(path, ("id", "group"), "save it as CSV with the columns id and group")
    if not {"id", "group"} <= set(table.columns) or not table.rows:
        got = list(table.columns) if table.rows or not {"id", "group"} <= set(table.columns) else "no rows"
        raise EnsError(f"expected the columns id and group in {path}, got {got}")
    groups: dict[str, str] = {}
    known = set(stems)
    for row in table.rows:
        key, group = plain_name(row["id"]), row.get("group", "")
        if key not in known and Path(key).suffix.lower() in suffixes:
            key = Path(key).stem
        if groups.setdefault(key, group) != group:
            raise EnsError(
                f"{path} puts the image {key} into the groups '{groups[key]}' and '{group}'; keep one of them"
            )
    return groups
