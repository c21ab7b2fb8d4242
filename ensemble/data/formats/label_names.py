"""Find the file that names the values of masks: numbered class names, or a table of names and colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_folder
from ensemble.data.description import Coding, Value
from ensemble.data.formats.label_files import read_label_file

VOID_NAMES = ("void", "unlabelled", "unlabeled", "ignore", "ignored", "unknown", "unlabel", "no label")
FILES = ("label_colors.txt", "class_dict.csv", "labelmap.txt", "classes.txt", "class_names.txt", "labels.txt")
MORE_FILES = ("codes.txt", "names.txt", "label_names.txt", "label_map.txt")
_MAX_BYTES = 1 << 20  # a list of classes is short; larger tables hold something else
_TABLES = 20  # tables and JSON files of other names that are looked at


@dataclass(frozen=True)
class LabelNames:
    """Names of values.

    Attributes:
        values: the values of each name, in the order of the file; empty without a file.
        file: name of the file.
    """

    values: Mapping[str, tuple[Value, ...]] = field(default_factory=dict[str, tuple[Value, ...]])
    file: str = ""

    def is_void(self, name: str) -> bool:
        """Return whether a name says that its pixels have no label."""
        return name.strip().strip("_").lower() in VOID_NAMES


def find_label_names(root: Path, coding: Coding) -> LabelNames:
    """Return the names of values in a file of a folder, or none.

    Args:
        root: the folder; files in its sub-folders are not looked at.
        coding: names of colours are looked for if masks have colours, names of ids if they have ids.
    """
    if coding not in ("ids", "colours") or not is_folder(root):
        return LabelNames()
    for path in _candidates(root):
        try:
            pairs = read_label_file(path, colours=coding == "colours")
        except EnsError:
            continue  # not text: another kind of file
        if len({name for name, _ in pairs}) >= 2 and len({value for _, value in pairs}) == len(pairs):
            names: dict[str, tuple[Value, ...]] = {}
            for name, value in pairs:
                names[name] = (*names.get(name, ()), value)
            return LabelNames(names, path.name)
    return LabelNames()


def _candidates(root: Path) -> list[Path]:
    """Return the files that may name classes, those with the usual names first."""
    small = [path for path in sorted(root.iterdir()) if path.is_file() and path.stat().st_size <= _MAX_BYTES]
    by_name = {path.name.lower(): path for path in small}
    usual = [by_name[name] for name in (*FILES, *MORE_FILES) if name in by_name]
    others = [path for path in small if path.suffix.lower() in (".csv", ".json") and path not in usual]
    return usual + others[:_TABLES]
