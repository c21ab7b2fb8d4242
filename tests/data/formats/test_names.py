"""Names of classes and groups: any encoding, and nothing that could be misread."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.core.errors import EnsError
from ensemble.data.formats.names import class_names, plain_name, read_class_names, read_groups, unknown_ids

STEMS = ["0000", "0001", "tile_0.25"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_names_in_any_encoding_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "classes.txt").write_bytes("background\r\nZellkern\r\n\r\nUmriß\r\n".encode(encoding))
    assert read_class_names(tmp_path / "classes.txt") == {0: "background", 1: "Zellkern", 2: "Umriß"}
    (tmp_path / "groups.csv").write_bytes(
        "id;group\r\n0000;Düne 0\r\n0001;Düne 0\r\ntile_0.25.png;b\r\n".encode(encoding)
    )
    assert read_groups(tmp_path / "groups.csv", STEMS, (".png",)) == ("Düne 0", "Düne 0", "b")


def test_files_that_are_absent_name_nothing(tmp_path: Path) -> None:
    assert read_class_names(tmp_path / "classes.txt") is None
    assert read_groups(tmp_path / "groups.csv", STEMS, ()) is None


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "but there is none; name every class once"),
        (["a", "b", "a"], "but 'a' occurs twice"),
        (["a", "b", "a "], "but 'a' occurs twice"),
        (["a", "  "], "but one is empty"),
        ([f"class {n}" for n in range(300)], r"at most 255 class names in x \(the id 255 is void\), got 300"),
    ],
)
def test_names_that_are_no_names_are_refused(names: list[str], text: str) -> None:
    with pytest.raises(EnsError, match=text):
        class_names(names, "x")
    assert len(class_names([f"class {n}" for n in range(255)], "x")) == 255


def test_an_image_in_two_groups_is_refused(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("id,group\n0000,a\n0001,b\n0000,a\n0001.png,c\n")
    with pytest.raises(
        EnsError, match=r"groups\.csv puts the image 0001 into the groups 'b' and 'c'; keep one of them"
    ):
        read_groups(tmp_path / "groups.csv", STEMS, (".png",))


def test_an_empty_group_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("id,group\n0000,a\n0001,\ntile_0.25,b\n")
    with pytest.raises(EnsError, match=r"groups\.csv has an empty group for the image 0001; fill it in$"):
        read_groups(tmp_path / "groups.csv", STEMS, (".png",))


def test_ids_that_no_image_has_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("id,group\n0000,a\n0001.png,b\ntile_0.25,b\nold.png,a\nolder,b\n")
    assert unknown_ids(path, STEMS, (".png",)) == ("groups.csv has 2 ids that no image has, the first is old",)
    assert unknown_ids(path, [*STEMS, "old"], (".png",)) == (
        "groups.csv has 1 id that no image has, the first is older",
    )
    assert unknown_ids(path, [*STEMS, "old", "older"], (".png",)) == ()


def test_leading_zeros_that_a_spreadsheet_dropped_are_named(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("id,group\n0,a\n1,b\n")
    text = "has no group for the image 0000, but one for 0: a spreadsheet drops leading zeros; save the column id as"
    with pytest.raises(EnsError, match=text):
        read_groups(tmp_path / "groups.csv", STEMS, (".png",))


def test_one_name_in_two_unicode_forms_is_one_name(tmp_path: Path) -> None:
    composed, decomposed = "für", "fu\u0308r"
    assert plain_name(decomposed) == plain_name(composed) == composed
    (tmp_path / "groups.csv").write_text(f"id,group\n{decomposed},a\n", encoding="utf-8")
    assert read_groups(tmp_path / "groups.csv", [composed], ()) == ("a",)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0: sky\n1: road\n", {0: "sky", 1: "road"}),
        ("1 road\n0 sky\n", {0: "sky", 1: "road"}),
        ("sky\n1 road\n", {0: "sky", 1: "1 road"}),
        ("1 Euro\n2 Euro\n", {0: "1 Euro", 1: "2 Euro"}),
    ],
)
def test_numbers_of_lines_are_no_part_of_names(text: str, names: dict[int, str], tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text(text)
    assert read_class_names(tmp_path / "classes.txt") == names


def test_numbers_with_gaps_need_a_description(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("0: sky\n38: road\n")
    with pytest.raises(EnsError, match=r"to have the numbers 0, 1, 2 \.\.\., got 0, 38; list the values of each class"):
        read_class_names(tmp_path / "classes.txt")
