"""Bundles as files: what is read back, and a sentence for whatever is damaged, foreign or newer."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest
from ensemble.runs.bundle import COMMENT_BYTES, open_bundle
from ensemble.runs.bundle_writer import write_bundle

NAME = "unet-ce-s0-7ca07c"
TEXT = b'{"a": 1}' * 20
WEIGHTS = bytes(range(256))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with a part that is stored as it is, and two that are compressed."""
    return written(tmp_path / "street.ens")


def written(out: Path, **about: object) -> Path:
    weights = out.with_name("weights")
    weights.write_bytes(WEIGHTS)
    parts: dict[str, bytes | Path] = {"card.md": b"# A card", f"members/{NAME}/config.json": TEXT}
    write_bundle(out, {"model": f"members/{NAME}", "name": NAME, **about}, {**parts, "weights": weights})
    return out


def test_parts_are_read_back(bundle: Path) -> None:
    found = open_bundle(bundle)
    assert (found.path, found.model, found.about["name"]) == (bundle, bundle / "members" / NAME, NAME)
    assert [found.read(name) for name in ("card.md", f"members/{NAME}/config.json", "weights")] == [
        b"# A card",
        TEXT,
        WEIGHTS,
    ]
    assert found.digests["weights"] == file_digest(bundle.with_name("weights"))
    with pytest.raises(EnsError, match=r"does not hold test\.npz, which this needs; use the run that it was made of"):
        found.read("test.npz")


def test_any_tool_reads_the_archive_and_finds_no_code(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        assert archive.testzip() is None
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == ["card.md", f"members/{NAME}/config.json", "weights", "bundle.json"]


def test_the_same_content_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    assert written(tmp_path / "again" / "other.ens").read_bytes() == bundle.read_bytes()


@pytest.mark.parametrize("change", [lambda byte: byte ^ 1, lambda byte: byte ^ 0xFF], ids=["bit", "byte"])
def test_no_byte_can_change_unseen(bundle: Path, tmp_path: Path, change: Callable[[int], int]) -> None:
    content, damaged = bundle.read_bytes(), tmp_path / "damaged.ens"
    for place in range(len(content)):
        damaged.write_bytes(content[:place] + bytes([change(content[place])]) + content[place + 1 :])
        os.utime(damaged, ns=(place, place))  # as many times in a tick of the clock as there are bytes
        with pytest.raises(EnsError, match=r"damaged\.ens"):
            open_bundle(damaged)


def test_no_end_can_be_cut_off_and_nothing_added(bundle: Path, tmp_path: Path) -> None:
    content, damaged = bundle.read_bytes(), tmp_path / "damaged.ens"
    for number, some in enumerate(
        [*(content[:end] for end in range(0, len(content), 7)), content + b"x", b"x" + content]
    ):
        damaged.write_bytes(some)
        os.utime(damaged, ns=(number, number))
        with pytest.raises(EnsError, match=r"damaged\.ens"):
            open_bundle(damaged)


def test_a_part_that_was_exchanged_is_seen(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.ens"
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(other, "w") as new:
        for info in old.infolist():
            new.writestr(info, b"# Another card" if info.filename == "card.md" else old.read(info))
        new.comment = old.comment
    with pytest.raises(
        EnsError, match=r"other\.ens differs from what `ens bundle` wrote \(damaged or edited\); copy it"
    ):
        open_bundle(other)


def test_what_is_no_bundle_gets_a_sentence(tmp_path: Path) -> None:
    text, archive, folder = tmp_path / "text.ens", tmp_path / "zip.ens", tmp_path / "folder.ens"
    text.write_text("hello")
    folder.mkdir()
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("a.txt", "hello")
    for path, sentence in (
        (text, "is no bundle"),
        (archive, "is a zip archive, but no bundle"),
        (folder, "there is no file"),
        (tmp_path / "gone.ens", "there is no file"),
    ):
        with pytest.raises(EnsError, match=sentence):
            open_bundle(path)


def test_a_newer_format_asks_for_an_upgrade(bundle: Path) -> None:
    content = bundle.read_bytes()
    comment = content[-COMMENT_BYTES:].replace(b"format 001", b"format 002")
    bundle.write_bytes(content[:-COMMENT_BYTES] + comment)
    with pytest.raises(
        EnsError, match="has the format 2 of bundles, but this version reads format 1; upgrade ens-toolkit"
    ):
        open_bundle(bundle)


def test_a_bundle_that_was_replaced_is_opened_again(bundle: Path) -> None:
    assert "licence" not in open_bundle(bundle).about
    written(bundle, licence="MIT")
    assert open_bundle(bundle).about["licence"] == "MIT"


@pytest.mark.parametrize("model", ["members/../x", "members/.hidden", "x", "/etc/passwd", ""])
def test_the_model_lies_in_the_bundle(tmp_path: Path, model: str) -> None:
    path = written(tmp_path / "odd.ens", model=model)
    with pytest.raises(EnsError, match="differs from what `ens bundle` wrote"):
        open_bundle(path)
