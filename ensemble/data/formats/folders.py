"""Look into folders: their images, and what words in their names say (image or mask; training, validation or test)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ensemble.core.reading import is_file, is_folder
from ensemble.data.formats.image_files import SUFFIXES
from ensemble.data.formats.patterns import SYSTEM_FILES

IMAGE_WORDS = (
    *("images", "image", "imgs", "img", "inputs", "input", "photos", "photo", "pictures", "picture", "frames", "x"),
    *("jpegimages", "imgdir", "sat", "rgb", "scans", "originals", "original", "src", "raw"),
)
MASK_WORDS = (
    *(
        "manual",
        "masks",
        "mask",
        "labels",
        "label",
        "annotations",
        "annotation",
        "annots",
        "annot",
        "ann",
        "anno",
        "gt",
        "gts",
    ),
    *("groundtruth", "truth", "seg", "segs", "segmentation", "segmentations", "segmentationclass", "targets", "target"),
    *("y", "labelled", "labeled", "labelids", "classes"),
)
PART_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "ts"), "test"),
}

_NESTED = 4
_ABOUT = ("readme", "license", "licence", "citation", "dataset.json")


def words_of(name: str) -> list[str]:
    """Return the words of a name in small letters.

    >>> words_of("Ground_Truth-trainX"), words_of("imagesTr")
    (['groundtruth', 'train', 'x'], ['images', 'tr'])
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    joined = re.sub(r"ground[ _.-]?truth", "groundtruth", spaced.lower())
    return [word for word in re.split(r"[^0-9a-z]+", joined) if word]


def kind_of(name: str) -> str | None:
    """Return ``image`` or ``mask`` if the name of a folder says what it holds."""
    words = words_of(name)
    if any(word in MASK_WORDS for word in words):
        return "mask"
    return "image" if any(word in IMAGE_WORDS for word in words) else None


def part_of(name: str) -> str | None:
    """Return ``train``, ``val`` or ``test`` if the name of a folder says to which part it belongs."""
    return next((PART_WORDS[word] for word in words_of(name) if word in PART_WORDS), None)


def folders_in(folder: Path) -> list[Path]:
    """Return the visible folders in a folder, in sorted order."""
    return [entry for entry in _visible(folder) if is_folder(entry)]


def only_folders(root: Path) -> list[Path]:
    """Return the folders that unpacking puts around data, the innermost first: each is all that the one above holds.

    A folder whose name only says what it holds, such as ``train``, belongs to the data.
    """
    found: list[Path] = []
    for _ in range(_NESTED):
        inner = _visible(found[0] if found else root)
        if len(inner) != 1 or not is_folder(inner[0]) or _says_all(inner[0].name):
            break
        found.insert(0, inner[0])
    return found


def images_in(folder: Path) -> list[Path]:
    """Return the visible image files of a folder, in sorted order."""
    return [entry for entry in _visible(folder) if entry.suffix.lower() in SUFFIXES and not is_folder(entry)]


def tables_in(root: Path) -> dict[str, Any]:
    """Return the tables that may come with any layout: ``groups`` and ``split`` with the names of their files."""
    return {key: f"{key}.csv" for key in ("groups", "split") if is_file(root / f"{key}.csv")}


def lists_in(root: Path, within: Sequence[str] = ("", "splits", "lists", "ImageSets")) -> dict[str, str]:
    """Return the text files that list the images of a part: ``train``, ``val``, ``test`` with paths below the root.

    Args:
        root: the folder.
        within: folders below it that are looked at; the first one with a list of training or validation images counts.
    """
    for folder in within:
        texts = [path for path in _visible(root / folder) if path.suffix.lower() == ".txt" and not is_folder(path)]
        parts = {part: path for path in texts if (part := PART_WORDS.get(path.stem.lower())) is not None}
        if "train" in parts or "val" in parts:
            return {part: path.relative_to(root).as_posix() for part, path in parts.items()}
    return {}


def not_read(root: Path, used: Iterable[Path]) -> tuple[str, ...]:
    """Return a sentence that names the files and folders below ``root`` of which nothing is used, or no sentence.

    Files that only describe the data, such as a README, are not named.
    """
    files = set(used)
    holding = {folder for path in files for folder in path.parents}
    found: list[str] = []

    def visit(folder: Path) -> None:
        for entry in _visible(folder):
            if entry in holding:
                visit(entry)
            elif entry not in files and not entry.name.lower().startswith(_ABOUT):
                found.append(entry.relative_to(root).as_posix() + ("/" if is_folder(entry) else ""))

    visit(root)
    shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
    return (f"not read, because the layout has no place for it: {len(found)} ({shown})",) if found else ()


def _says_all(name: str) -> bool:
    return all(word in IMAGE_WORDS or word in MASK_WORDS or word in PART_WORDS for word in words_of(name))


def _visible(folder: Path) -> list[Path]:
    entries = folder.iterdir() if is_folder(folder) else ()
    return sorted(entry for entry in entries if not entry.name.startswith(".") and entry.name not in SYSTEM_FILES)
