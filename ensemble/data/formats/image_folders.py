"""Find the folders of a data set that hold images, and what the words of their paths say about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ensemble.data.formats.folders import folders_in, images_in, kind_of, part_of

_DEPTH = 4  # folders within each other that are looked at
_MOST = 5000  # folders that are looked at


@dataclass(frozen=True)
class ImageFolder:
    """A folder that holds images.

    Attributes:
        pattern: its path with a slash at the end; ``*`` stands for several names.
        kind: ``image`` or ``mask`` if a name of the path says so.
        part: ``train``, ``val`` or ``test`` if a name of the path says so.
        rest: the names before the first one that says something.
        files: its images.
    """

    pattern: str
    kind: str | None
    part: str | None
    rest: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def stems(self) -> list[str]:
        """Names of the files without their endings."""
        return [path.stem for path in self.files]


def image_folders(root: Path) -> list[ImageFolder]:
    """Return the folders that hold images; those that differ in names that say nothing are one, such as ``train/*``.

    Masks of equal names stay apart: they are several forms of the same masks.
    """
    held = {folder: files for folder in _walk(root) if (files := images_in(folder))}
    alike: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for folder in held:
        alike[_general(folder.relative_to(root).parts)].append(folder)
    found: list[ImageFolder] = []
    for names, folders in alike.items():
        files = [path for folder in folders for path in held[folder]]
        one = _image_folder(names, files)
        if len(folders) > 1 and (len(set(one.stems)) == len(files) or one.kind != "mask"):
            found.append(one)
        else:
            found += [_image_folder(folder.relative_to(root).parts, held[folder]) for folder in folders]
    return sorted(found, key=lambda each: each.pattern)


def _general(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a path with ``*`` for names that say nothing, after the first one that says something."""
    first = _first_telling(names)
    return (*names[:first], *("*" if says_nothing(name) else name for name in names[first:]))


def _first_telling(names: tuple[str, ...]) -> int:
    return next((place for place, name in enumerate(names) if not says_nothing(name)), len(names))


def _walk(root: Path) -> Iterator[Path]:
    level, seen = [root], 0
    for _ in range(_DEPTH + 1):
        yield from level
        seen += len(level)
        level = [] if seen > _MOST else [inner for folder in level for inner in folders_in(folder)]


def says_nothing(name: str) -> bool:
    """Return whether the name of a folder speaks of no kind and no part."""
    return kind_of(name) is None and part_of(name) is None


def _image_folder(names: tuple[str, ...], files: Sequence[Path]) -> ImageFolder:
    kinds = [kind for name in names if (kind := kind_of(name))]
    parts = [part for name in names if (part := part_of(name))]
    pattern = "".join(f"{name}/" for name in names)
    return ImageFolder(
        pattern,
        kinds[-1] if kinds else None,
        parts[0] if parts else None,
        names[: _first_telling(names)],
        tuple(files),
    )
