"""Words in names of folders, and what nothing is read from."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.data.formats.folders import kind_of, lists_in, not_read, part_of


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("images", "image", None),
        ("Images", "image", None),
        ("JPEGImages", "image", None),
        ("imagesTr", "image", "train"),
        ("labelsTs", "mask", "test"),
        ("SegmentationClass", "mask", None),
        ("ground_truth", "mask", None),
        ("GroundTruth", "mask", None),
        ("X_train", "image", "train"),
        ("y-val", "mask", "val"),
        ("stage1_test", None, "test"),
        ("label_images", "mask", None),
        ("aachen", None, None),
        ("trainer", None, None),
    ],
)
def test_words_say_kind_and_part(name: str, kind: str | None, part: str | None) -> None:
    assert (kind_of(name), part_of(name)) == (kind, part)


def test_lists_are_found_in_the_folder_or_below(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("1")
    assert lists_in(tmp_path) == {}
    (tmp_path / "splits").mkdir()
    for name in ("Train.txt", "valid.txt", "notes.txt"):
        (tmp_path / "splits" / name).write_text("1")
    assert lists_in(tmp_path) == {"train": "splits/Train.txt", "val": "splits/valid.txt"}


def test_what_nothing_is_read_from_is_named(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/c/3.png", "b/d/4.png", ".hidden/5.png", "README.md", "Thumbs.db", "x.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    used = [tmp_path / "a" / "1.png", tmp_path / "b" / "c" / "3.png"]
    assert not_read(tmp_path, used) == ("not read, because the layout has no place for it: 3 (a/2.png, b/d/, x.csv)",)
    assert not_read(tmp_path, [*used, tmp_path / "a/2.png", tmp_path / "b/d/4.png", tmp_path / "x.csv"]) == ()
