"""The folder with ``images/`` and ``masks/``, optional ``test/``, ``classes.txt``, ``groups.csv`` and ``split.csv``."""

from __future__ import annotations

from pathlib import Path

from ensemble.core.reading import is_file, is_folder
from ensemble.data.description import Description, Part
from ensemble.data.formats.registry import FORMATS


@FORMATS.register("images-and-masks")
def describe(path: Path) -> Description | None:
    """Folders images/ and masks/ whose files have the same names."""
    images, masks = path / "images", path / "masks"
    if not is_folder(images) or not is_folder(masks) or not _holds_files(images):
        return None
    test = None
    if is_folder(path / "test" / "images"):
        labelled = is_folder(path / "test" / "masks")
        test = Part(images=("test/images/{id}.*",), masks="test/masks/{id}.*" if labelled else None)
    elif is_folder(path / "test"):
        test = Part(images=("test/{id}.*",))
    return Description(
        train=Part(images=("images/{id}.*",), masks="masks/{id}.*"),
        test=test,
        **{key: name for key, name in _TABLES.items() if is_file(path / name)},
    )


_TABLES = {"names": "classes.txt", "groups": "groups.csv", "split": "split.csv"}


def _holds_files(folder: Path) -> bool:
    """Return whether a folder holds a file; one that holds only folders is split into parts."""
    entries = list(folder.iterdir())
    return not entries or any(not is_folder(entry) for entry in entries)
