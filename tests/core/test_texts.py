"""Texts, tables and TOML as people's programs write them."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from ensemble.core.errors import EnsError
from ensemble.core.texts import read_table, read_text, read_toml

TEXT = "Umriß\nDüne, 5 €\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("cp1252"),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
    ],
    ids=["utf-8", "utf-8 with mark", "cp1252", "utf-16", "utf-16 big endian", "utf-32"],
)
def test_the_encoding_is_recognised(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert read_text(tmp_path / "a.txt") == TEXT


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (TEXT.encode("utf-16-le"), r"a\.txt is not text, or UTF-16 without a byte order mark .*; save it as UTF-8"),
        (b"PK\3\4\0\0", r"a\.txt is not text \(it holds the byte 3\); save it as UTF-8"),
        (b"a\x81b", r"a\.txt is text in neither UTF-8 nor cp1252; save it as UTF-8"),
        (codecs.BOM_UTF16_LE + b"a", r"a\.txt cannot be read as text \(it is not UTF-8 text\); save it as UTF-8"),
    ],
)
def test_other_encodings_say_what_to_save_as(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(EnsError, match=text):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_tables_of_any_separator_are_read(tmp_path: Path, mark: str, encoding: str) -> None:
    lines = [["id", " group "], [" 1", "Düne 0"], ["2", f'"a{mark}b"'], [], ["3"], ["4", "c", "", ""]]
    (tmp_path / "a.csv").write_bytes("\r\n".join(mark.join(line) for line in lines).encode(encoding))
    table = read_table(tmp_path / "a.csv", ("id", "group"), "x")
    assert table.columns == ("id", "group")
    assert table.rows == (
        {"id": "1", "group": "Düne 0"},
        {"id": "2", "group": f"a{mark}b"},
        {"id": "3"},
        {"id": "4", "group": "c"},
    )


def test_columns_are_found_in_any_capitals(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ID ; Part ;Note\na ; val ; x\n", encoding="utf-16")
    table = read_table(tmp_path / "a.csv", ("id", "part", "fold"), "x")
    assert table.columns == ("id", "part", "Note")
    assert table.rows == ({"id": "a", "part": "val", "Note": "x"},)
    (tmp_path / "a.csv").write_text("ID,id\na,b\n")
    assert read_table(tmp_path / "a.csv", ("id",), "x").rows == ({"ID": "a", "id": "b"},)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,id\n1,2\n", r"a\.csv names the column 'id' twice; rename one of the two"),
        ("id,group\n1,a\n2,b,c\n", r"expected 2 values in line 3 of .*a\.csv, as in its first line, got 3; put texts"),
        ('id\n"1" x\n', r"a\.csv cannot be read as CSV \(.*\); write it anew"),
    ],
)
def test_tables_that_could_be_misread_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(EnsError, match=message):
        read_table(tmp_path / "a.csv", ("id",), "write it anew")


def test_an_empty_table_has_no_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    table = read_table(tmp_path / "a.csv", ("id",), "x")
    assert (table.columns, table.rows) == ((), ())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[", "Invalid"),
        ("a = " + "[" * 20_000, "nested too deeply"),
        ("a = 1\na = 2", "overwrite"),
        ("a = " + "1" * 9999, "digits"),
    ],
)
def test_toml_that_cannot_be_read_is_one_sentence(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(EnsError, match=rf"a\.toml cannot be read as TOML \(.*{reason}.*\); correct it"):
        read_toml(tmp_path / "a.toml", "correct it")


def test_toml_of_any_encoding_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes('name = "Düne"'.encode("utf-16"))
    assert read_toml(tmp_path / "a.toml", "x") == {"name": "Düne"}
