"""The folders that hold images, and what their paths say."""

from __future__ import annotations

from pathlib import Path

from layouts import picture

from ensemble.data.formats.image_folders import image_folders


def found(root: Path, *files: str) -> dict[str, tuple[str | None, str | None, tuple[str, ...], int]]:
    """Write files and return kind, part, rest and number of files by pattern."""
    for number, file in enumerate(files):
        picture(root / file, number)
    return {each.pattern: (each.kind, each.part, each.rest, len(each.files)) for each in image_folders(root)}


def test_paths_say_kind_and_part(tmp_path: Path) -> None:
    assert found(tmp_path, "a.png", "set/images/train/b.png", "set/train/masks/b.png", ".hidden/c.png") == {
        "": (None, None, (), 1),
        "set/images/train/": ("image", "train", ("set",), 1),
        "set/train/masks/": ("mask", "train", ("set",), 1),
    }


def test_names_that_say_nothing_are_one_folder(tmp_path: Path) -> None:
    files = ("train/rural/images/1.png", "train/urban/images/2.png", "foo/3.png", "bar/4.png")
    assert found(tmp_path, *files) == {
        "bar/": (None, None, ("bar",), 1),
        "foo/": (None, None, ("foo",), 1),
        "train/*/images/": ("image", "train", (), 2),
    }


def test_forms_of_the_same_masks_stay_apart(tmp_path: Path) -> None:
    names = found(tmp_path, "masks/ids/1.png", "masks/shown/1.png", "images/a/1.png", "images/b/1.png")
    assert list(names) == ["images/*/", "masks/ids/", "masks/shown/"]


def test_folders_far_below_are_not_looked_at(tmp_path: Path) -> None:
    assert found(tmp_path, "a/b/c/d/1.png", "a/b/c/d/e/2.png") == {"a/b/c/d/": (None, None, ("a", "b", "c", "d"), 1)}
