"""Find the parts and the images that belong to files with the masks of many images, such as COCO's JSON."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file, is_folder
from ensemble.data.formats.image_files import SUFFIXES
from ensemble.data.formats.names import plain_name

_PART = re.compile(r"(?<![a-z])(train|val|valid|validation|dev|test)(?:ing)?(?![a-z])")
_NO_IMAGES = re.compile(r"mask|label|annot|(?<![a-z])gt(?![a-z])")
_LOOKED_AT = 20  # images of a table that are looked for


def name_of(file: str) -> str:
    """Return the name of an image without folder and ending.

    >>> name_of("train/0001.a.jpg"), name_of("0001.a")
    ('0001.a', '0001.a')
    """
    name = file.replace("\\", "/").rpartition("/")[2]
    return plain_name(Path(name).stem if Path(name).suffix.lower() in SUFFIXES else name)


def part_of(text: str) -> str | None:
    """Return the part that a name speaks of.

    >>> part_of("instances_val2017"), part_of("train_v2"), part_of("latest")
    ('val', 'train', None)
    """
    match = _PART.search(text.lower())
    if match is None:
        return None
    return match[1] if match[1] in ("train", "test") else "val"


def files_of_parts(root: Path, files: Sequence[Path], what: str) -> dict[str, Path]:
    """Return the file of each part; a single file is the training part, whatever its name.

    Raises:
        EnsError: several files, and one does not say its part, two are for one part, or none is for train.
    """
    if len(files) < 2:
        return dict(zip(("train",), files, strict=False))
    parts: dict[str, Path] = {}
    for file in files:
        part = part_of(file.stem) or part_of(file.parent.relative_to(root).name)
        if part is None:
            raise EnsError(
                f"found {len(files)} files with {what} in {root}, but the name of {file.name} does not say whether it"
                " is for train, val or test; rename it or move it away"
            )
        if part in parts:
            raise EnsError(
                f"{parts[part].relative_to(root)} and {file.relative_to(root)} in {root} are both for {part}; keep one"
            )
        parts[part] = file
    if "train" not in parts:
        raise EnsError(f"expected a file with {what} for train in {root}, found one for {', '.join(parts)}; add it")
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}


def image_pattern(root: Path, table: Path, files: Collection[str]) -> str:
    """Return the pattern of the images that a table names, with or without their folders.

    Raises:
        EnsError: the images are in none of the folders.
    """
    part = part_of(table.stem) or "train"

    def rank(folder: Path) -> tuple[bool, bool, bool]:
        name = folder.relative_to(root).as_posix()
        return (folder != table.parent or folder == root, _NO_IMAGES.search(name) is not None, part_of(name) != part)

    folders = sorted(_folders(root), key=rank)
    for folder in folders:
        for file in list(files)[:_LOOKED_AT]:
            path = file.replace("\\", "/")
            for name in dict.fromkeys((path, path.rpartition("/")[2])):
                if _is_there(folder / name):
                    inside = _common([each.replace("\\", "/") for each in files]) if "/" in name else ""
                    steps = (folder.relative_to(root).as_posix(), inside, "{id}.*")
                    return "/".join(step for step in steps if step not in ("", "."))
    first = next(iter(files), "no image")
    raise EnsError(
        f"{table} names {first}, but none of the {len(folders)} folders of {root} holds such an image"
        f" ({', '.join(SUFFIXES)}); put the images there, or write a description"
    )


def folder_of_test(root: Path) -> str | None:
    """Return the folder of test images."""
    for folder in _folders(root):
        name = folder.relative_to(root).as_posix()
        if part_of(name) == "test" and any(entry.suffix.lower() in SUFFIXES for entry in folder.iterdir()):
            return name
    return None


def _folders(root: Path) -> list[Path]:
    """Return a folder and the folders of two levels below it."""
    first = _inside(root)
    return [root, *first, *(each for folder in first for each in _inside(folder))]


def _inside(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and is_folder(entry))


def _is_there(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return is_file(path)
    return any(is_file(path.with_name(path.name + suffix)) for suffix in SUFFIXES)


def _common(files: Sequence[str]) -> str:
    """Return the folders that file names begin with, ``*`` for each step in which they differ."""
    steps = [file.split("/")[:-1] for file in files]
    depth = min(map(len, steps))
    columns = list(zip(*steps, strict=False))[:depth]
    return "/".join(names[0] if len(set(names)) == 1 else "*" for names in columns)
