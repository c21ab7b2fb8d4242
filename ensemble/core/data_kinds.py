"""Name the kinds of data that a user may pass: the one list that help texts and errors share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file, is_folder

DATA = ("an npz file", "a folder of images and masks", "a description (TOML)", "'sample'")
IMAGES = ("an npz file (its test images)", "a data set (its test part)", "a folder", "one image", "'sample'")


def one_of(kinds: Sequence[str]) -> str:
    """Return the kinds as a choice.

    >>> one_of(("an npz file", "a folder", "'sample'"))
    "an npz file, a folder, or 'sample'"
    """
    return f"{', '.join(kinds[:-1])}, or {kinds[-1]}"


def help_text(kinds: Sequence[str]) -> str:
    """Return the choice with a capital letter, as it begins a help text."""
    text = one_of(kinds)
    return text[:1].upper() + text[1:]


def is_there(source: str) -> bool:
    """Return whether there are data: a file, a folder, or the embedded sample."""
    return source == "sample" or is_file(Path(source)) or is_folder(Path(source))


def check_exists(path: Path, kinds: Sequence[str]) -> None:
    """Raise an error unless there is a file or folder at ``path``.

    Raises:
        EnsError: nothing is there; the text names the kinds of data that can be passed.
    """
    if not is_file(path) and not is_folder(path):
        raise EnsError(f"there is no file or folder {path}; give {one_of(kinds)}")
