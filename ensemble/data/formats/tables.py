"""Read the groups and the split that come with a data set: tables with a row per image, or a pattern of names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.texts import read_table
from ensemble.data.description import Description
from ensemble.data.formats.image_files import SUFFIXES
from ensemble.data.formats.names import plain_name, read_groups, unknown_ids
from ensemble.data.formats.part_samples import Sample

TRAIN, VAL, VAULT = "train", "val", "vault"
_VALIDATION = ("val", "valid", "validation", "dev")


def given_groups(description: Description, root: Path, samples: Sequence[Sample]) -> tuple[str, ...] | None:
    """Return the group of each image, from a table or by the pattern of its name, or None if nothing says them.

    Raises:
        EnsError: an image has no group, or the pattern does not fit its name.
    """
    if description.groups is not None:
        return read_groups(root / description.groups, [sample.id for sample in samples], SUFFIXES)
    if description.group_pattern is None:
        return None
    return groups_by_pattern(description.group_pattern, [sample.name for sample in samples])


def groups_by_pattern(pattern: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the group of each image: what the brackets of a regular expression find in its name.

    Raises:
        EnsError: the pattern does not fit a name.
    """
    groups: list[str] = []
    for name in names:
        match = re.search(pattern, name)
        if match is None or not match[1]:
            raise EnsError(f"group_pattern {pattern} does not fit the image {name}; correct it")
        groups.append(match[1])
    return tuple(groups)


def group_notes(description: Description, root: Path, samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return a note on ids of the table of groups that no image has, labelled or not."""
    if description.groups is None:
        return ()
    return unknown_ids(root / description.groups, [sample.id for sample in samples], SUFFIXES)


def given_parts(description: Description, root: Path, samples: Sequence[Sample]) -> tuple[str, ...] | None:
    """Return the part (``train`` or ``val``) or the fold of each image, or None if the data come without a split.

    Raises:
        EnsError: the table of the split does not fit the images.
    """
    if description.split is not None:
        return read_split(root / description.split, [sample.id for sample in samples])
    if description.val is None:
        return None
    return tuple(sample.part for sample in samples)


def read_split(path: Path, ids: Sequence[str]) -> tuple[str, ...]:
    """Return the part or fold of each image from a table with the columns id, and part or fold.

    Args:
        path: the table. Parts are ``train`` and ``val``; folds have any names, and there are at least two of them. In
            both columns ``vault`` is for images that are set aside.
        ids: the labelled images.

    Raises:
        EnsError: the file cannot be read, columns or images are missing, or an image is in two parts.
    """
    table = read_table(path, ("id", "fold", "part"), "save it as CSV with the columns id, and part or fold")
    column = next((name for name in ("part", "fold") if name in table.columns), None)
    if "id" not in table.columns or column is None or not table.rows:
        got = list(table.columns) if table.rows else "no rows"
        raise EnsError(f"expected the columns id, and part or fold, in {path}, got {got}; see `ens data split`")
    known, parts = set(ids), dict[str, str]()
    for row in table.rows:
        key = plain_name(row["id"])
        if key not in known and Path(key).suffix.lower() in SUFFIXES:
            key = Path(key).stem
        part = row.get(column, "")
        part = VAL if column == "part" and part.lower() in _VALIDATION else part.lower() if column == "part" else part
        if parts.setdefault(key, part) != part:
            raise EnsError(f"{path} puts the image {key} into '{parts[key]}' and '{part}'; keep one of them")
    missing = [key for key in ids if not parts.get(key)]
    if missing:
        raise EnsError(
            f"{path} has no {column} for {len(missing)} of {len(ids)} images, such as {missing[0]}; add a row for each"
        )
    found = tuple(parts[key] for key in ids)
    found = tuple(VAULT if part.lower() == VAULT else part for part in found)
    used = sorted(set(found) - {VAULT})
    if column == "part" and set(used) != {TRAIN, VAL}:
        advice = "; list test images as [test] of a description" if "test" in found else "; correct it"
        raise EnsError(f"expected the parts train and val in {path}, got {', '.join(used)}{advice}")
    if column == "fold" and len(used) < 2:
        got = ", ".join(used) or VAULT
        raise EnsError(f"expected at least two folds in {path}, got {got}; correct it, or write a column part")
    return found
