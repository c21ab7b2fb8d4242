"""Find the file that names the values of masks: numbered class names, or a table of names and colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ensemble.data.description import Coding, Value

VOID_NAMES = ("void", "unlabelled", "unlabeled", "ignore", "ignored", "unknown", "unlabel", "no label")


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
        return name.strip().lower() in VOID_NAMES


def find_label_names(root: Path, coding: Coding) -> LabelNames:
    """Return the names of values in a file of a folder, or none."""
    return LabelNames()
