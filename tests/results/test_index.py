"""The index of a folder of runs: fast, never stale, and never needed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from ensemble import results
from ensemble.core.files import read_json
from ensemble.results import index
from ensemble.results.index import FILE
from ensemble.results.rows import Row, read_row

Rewrite = Callable[..., None]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that were read from their directories, in order."""
    names: list[str] = []

    def noted(path: Path) -> Row | None:
        names.append(path.name)
        return read_row(path)

    monkeypatch.setattr(index, "read_row", noted)
    return names


@pytest.fixture
def indexed(runs: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs with an index: here one run is worth an index, and files are settled at once."""
    monkeypatch.setattr(index, "WORTH_WRITING", 1)
    monkeypatch.setattr(index, "SETTLED_NS", -1_000_000_000)
    results.load(runs)
    assert (runs / FILE).is_file()
    assert len(read) == 3
    read.clear()
    return runs


def member(runs: Path) -> Path:
    return next((runs / "members").glob("unet*"))


def test_rows_come_from_the_index_and_are_the_same(indexed: Path, read: list[str]) -> None:
    frame = results.load(indexed)
    assert read == []
    (indexed / FILE).unlink()
    pd.testing.assert_frame_equal(frame, results.load(indexed), check_exact=True)
    assert len(read) == 3


def other_settings(path: Path) -> dict[str, Any]:
    settings = read_json(path / "config.json")["settings"]
    return {"settings": settings | {"seed": 9}}


@pytest.mark.parametrize(
    ("file", "changes", "column", "value"),
    [
        ("scores.json", {"miou": 0.125}, "miou", 0.125),
        ("config.json", other_settings, "seed", 9),
        ("status.json", {"finished": "2030"}, "finished", "2030"),
        ("environment.json", {"revision": "new"}, "git", "new"),
    ],
)
def test_a_run_is_read_again_when_one_of_its_files_changed(
    indexed: Path, read: list[str], rewrite: Rewrite, file: str, changes: Any, column: str, value: Any
) -> None:
    path = member(indexed)
    rewrite(path, file, **(other_settings(path) if changes is other_settings else changes))
    assert results.load(indexed).set_index("name").loc[path.name, column] == value
    assert read == [path.name]
    assert results.load(indexed).set_index("name").loc[path.name, column] == value
    assert read == [path.name]  # and is in the index now


def test_equal_size_and_time_do_not_hide_a_change(indexed: Path, read: list[str]) -> None:
    path = member(indexed) / "status.json"
    before = path.stat()
    text = path.read_text()
    path.write_text(text.replace('"parameters": 1000', '"parameters": 2000'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    frame = results.load(indexed).set_index("name")
    assert frame.loc[path.parent.name, "parameters"] == 2000
    assert read == [path.parent.name]


def test_a_file_that_changed_just_now_is_not_kept(runs: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "WORTH_WRITING", 1)
    results.load(runs)
    results.load(runs)
    assert len(read) == 6  # all of them are younger than two seconds
    later = time.time_ns() + 3_000_000_000
    monkeypatch.setattr(index, "time", SimpleNamespace(time_ns=lambda: later))
    results.load(runs)
    results.load(runs)
    assert len(read) == 9


def test_a_new_and_a_removed_run(indexed: Path, read: list[str]) -> None:
    path = member(indexed)
    other = next(found for found in (indexed / "members").iterdir() if found != path)
    shutil.copytree(other, other.with_name("another"))
    shutil.rmtree(path)
    frame = results.load(indexed)
    assert set(frame["name"]) == {other.name, "another", *(found.name for found in (indexed / "ensembles").iterdir())}
    assert read == ["another"]
    assert frame.set_index("kind").loc[["ensemble"], "seconds"].isna().all()  # one of its members is gone


def test_an_ensemble_sees_its_member_change(indexed: Path, read: list[str], rewrite: Rewrite) -> None:
    rewrite(member(indexed), "status.json", parameters=5000)
    frame = results.load(indexed).set_index("kind")
    assert frame.loc["ensemble", "parameters"] == 6000
    assert read == [member(indexed).name]


def test_a_finished_run_appears_and_one_that_is_damaged_goes(indexed: Path, rewrite: Rewrite) -> None:
    rewrite(member(indexed), "status.json", state="training")
    assert len(results.load(indexed)) == 2
    assert len(results.load(indexed)) == 2  # unfinished ones are in the index, too
    rewrite(member(indexed), "status.json", state="complete")
    assert len(results.load(indexed)) == 3
    (member(indexed) / "scores.json").write_text("{}")
    for _ in range(2):
        frame, problems = results.scan(indexed)
        assert (len(frame), len(problems)) == (2, 1)


def flip(content: bytes) -> bytes:
    place = content.index(b"0.", 200)
    return content[:place] + b"9" + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        flip,
        lambda content: b"no index at all",
        lambda content: b"\xff\xfe\n" + content,
        lambda content: content.partition(b"\n")[2],
    ],
)
def test_a_damaged_index_is_harmless(indexed: Path, read: list[str], damage: Callable[[bytes], bytes]) -> None:
    whole = results.load(indexed)
    (indexed / FILE).write_bytes(damage((indexed / FILE).read_bytes()))
    pd.testing.assert_frame_equal(results.load(indexed), whole, check_exact=True)
    assert len(read) == 3
    results.load(indexed)
    assert len(read) == 3  # it was written again


def test_the_index_of_another_version_is_not_read(
    indexed: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "VERSION", "2 other columns")
    results.load(indexed)
    assert len(read) == 3


def test_a_folder_that_cannot_be_written_works_without(
    runs: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "WORTH_WRITING", 1)
    monkeypatch.setattr(index, "SETTLED_NS", -1_000_000_000)
    (runs / FILE).mkdir()  # nothing can be renamed to it, by root neither
    assert len(results.load(runs)) == 3
    assert len(results.load(runs)) == 3
    assert len(read) == 6
    assert not list(runs.glob(".*.tmp"))


def test_few_runs_leave_no_index_behind(runs: Path) -> None:
    results.load(runs)
    assert sorted(path.name for path in runs.iterdir()) == ["ensembles", "members"]


def test_a_run_that_may_not_be_read_is_named(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> os.stat_result:  # chmod would not stop root
        if "unet" in path:
            raise PermissionError(13, "Permission denied")
        return os.stat(path)  # noqa: PTH116

    monkeypatch.setattr(index, "os", SimpleNamespace(stat=refuse, listdir=os.listdir))
    frame, problems = results.scan(runs)
    assert len(frame) == 2
    assert problems == [f"{member(runs)}/status.json cannot be read (Permission denied); allow it, or move it away"]


def test_the_index_holds_plain_json(indexed: Path) -> None:
    own, _, body = (indexed / FILE).read_bytes().partition(b"\n")
    assert len(own) == 32
    content = json.loads(body)
    assert {place.split("/")[0] for place, _, _ in content["entries"]} == {"members", "ensembles"}


def test_progress_is_told_where_there_is_much_to_read(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    results.scan(runs, lambda task, done, total, _="": told.append((task, done, total)))
    assert told == []
    monkeypatch.setattr(index, "WORTH_WRITING", 1)
    results.scan(runs, lambda task, done, total, _="": told.append((task, done, total)))
    assert told[-1] == ("reading runs", 3, 3)


@pytest.mark.slow
def test_ten_thousand_runs_load_in_under_two_seconds(tmp_path: Path, runs: Path) -> None:
    files = {name: (member(runs) / name).read_bytes() for name in ("config.json", "scores.json", "status.json")}
    for number in range(10_000):
        path = tmp_path / "many" / "members" / f"unet-ce-s{number}"
        path.mkdir(parents=True)
        for name, content in files.items():
            (path / name).write_bytes(content)
    time.sleep(2.1)  # younger files are not kept
    results.load(tmp_path / "many")
    start = time.process_time()
    assert len(results.load(tmp_path / "many")) == 10_000
    assert time.process_time() - start < 2
