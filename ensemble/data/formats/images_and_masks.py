"""The folder with ``images/`` and ``masks/``, optional ``test/``, ``classes.txt``, ``groups.csv`` and ``split.csv``."""

from __future__ import annotations

from pathlib import Path

from ensemble.core.reading import is_file, is_folder
from ensemble.core.texts import read_text
from ensemble.data.description import Description, Part
from ensemble.data.formats.folders import folders_in, images_in, lists_in, part_of, tables_in
from ensemble.data.formats.names import numbered, plain_name
from ensemble.data.formats.registry import FORMATS


@FORMATS.register("images-and-masks")
def describe(path: Path) -> Description | None:
    """Folders images/ and masks/ whose files have the same names."""
    images, masks = path / "images", path / "masks"
    if not is_folder(images) or not is_folder(masks) or not _holds_files(images):
        return None
    if _other_names(images, masks) or _has_parts(path):
        return None  # `pairs` finds what the names have in common, and the validation part
    test = None
    if is_folder(path / "test" / "images"):
        labelled = is_folder(path / "test" / "masks")
        test = Part(images=("test/images/{id}.*",), masks="test/masks/{id}.*" if labelled else None)
    elif is_folder(path / "test"):
        test = Part(images=("test/{id}.*",))
    return Description(
        train=Part(images=("images/{id}.*",), masks="masks/{id}.*"),
        test=test,
        names=_CLASSES if _is_plain_list(path / _CLASSES) else None,
        **tables_in(path),
    )


_CLASSES = "classes.txt"


def _holds_files(folder: Path) -> bool:
    """Return whether a folder holds a file; one that holds only folders is split into parts."""
    entries = list(folder.iterdir())
    return not entries or any(not is_folder(entry) for entry in entries)


def _other_names(images: Path, masks: Path) -> bool:
    """Return whether no mask has the name of an image."""
    first, second = ({plain_name(path.stem) for path in images_in(folder)} for folder in (images, masks))
    return bool(first and second) and not first & second


def _has_parts(root: Path) -> bool:
    """Return whether lists or a folder give a validation part."""
    folders = [folder for folder in folders_in(root) if part_of(folder.name) == "val"]
    return "val" in lists_in(root) or any(images_in(folder) or folders_in(folder) for folder in folders)


def _is_plain_list(path: Path) -> bool:
    """Return whether a file lists class names without numbers; numbered ones are read with the values of the masks."""
    return is_file(path) and numbered([line for line in read_text(path).splitlines() if line.strip()]) is None
