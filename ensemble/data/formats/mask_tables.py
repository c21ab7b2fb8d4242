"""Open the files that hold the masks of all images of a part, by the coding that a description names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ensemble.data.description import Coding, Description
from ensemble.data.formats.coco_masks import open_coco
from ensemble.data.formats.coding import MaskTable
from ensemble.data.formats.run_length_masks import open_run_lengths

OPENERS: Mapping[Coding, Callable[[Mapping[str, Path]], Mapping[str, MaskTable]]] = {
    "coco": open_coco,
    "run-lengths": open_run_lengths,
}


def table_files(description: Description, root: Path) -> dict[str, Path]:
    """Return the file with all masks of each part that has one."""
    if description.coding not in OPENERS:
        return {}
    return {name: root / part.masks for name, part in description.parts.items() if part.masks is not None}


def open_mask_tables(description: Description, root: Path) -> Mapping[str, MaskTable]:
    """Return the masks of each part if one file holds them; empty if every image has a mask file.

    Raises:
        EnsError: a file cannot be read, or does not fit the coding.
    """
    files = table_files(description, root)
    return OPENERS[description.coding](files) if files else {}
