"""``ens explain``: tables for people, one sentence for scripts, JSON for programs, errors in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import ensemble
from ensemble.runs.member import Member

Ens = Callable[..., Result]
TABLES = {"systems", "pairwise", "log_loss", "contributions", "dropping", "uncertainty", "calibration"}


@pytest.fixture
def path(tmp_path: Path, make_member: Callable[..., Member]) -> Path:
    """An average of three members."""
    for index in range(3):
        make_member(tmp_path, f"net{index}", quality=0.6 + 0.5 * index)
    return ensemble.combine(method="average", runs=tmp_path).ensemble.path


def test_help_shows_an_example(ens: Ens) -> None:
    assert "Example:  ens explain" in ens("explain", "--help").stdout


def test_tables_and_a_closing_sentence(ens: Ens, path: Path, tmp_path: Path) -> None:
    result = ens("explain", path.name[:9], "--runs", tmp_path)
    assert result.exit_code == 0, result.output
    for words in (
        "the oracle is right where any member is right",
        "disagree %",
        "members - diversity = geometric",
        "Shapley value, from no member (the most frequent class everywhere) to all of them, points of the",
        "average of all minus average of the others",
        "without loss",
        "share of the ensemble's errors (%) in its most uncertain pixels",
        "ECE % after",
        "big rock",
    ):
        assert words in result.stdout
    assert f"13 pictures and tables in {path / 'explain'}" in result.stdout
    assert result.stdout.rstrip().endswith("of the ensemble's errors.")
    assert (path / "explain" / "pairs.png").is_file()


def test_too_few_groups_are_named_and_nothing_is_proven(
    ens: Ens, tmp_path: Path, make_member: Callable[..., Member], make_world: Callable[..., Any]
) -> None:
    for index in range(2):
        make_member(tmp_path, f"net{index}", world=make_world(images=6, group_size=3))
    path = ensemble.combine(method="average", runs=tmp_path).ensemble.path
    result = ens("explain", path)
    assert result.exit_code == 0, result.output
    assert "points of the average's IoU, no interval (" in result.stdout
    assert result.stdout.count("Too few independent groups of images to tell: 2, ") == 2
    for text in (" to +", " to -", "yes", "nan", "noise"):
        assert text not in result.stdout
    assert (path / "explain" / "dropping.png").is_file()


def test_what_has_no_value_is_a_dash(
    ens: Ens, tmp_path: Path, make_member: Callable[..., Member], make_world: Callable[..., Any]
) -> None:
    world = make_world(images=6, group_size=3)
    world.masks_nhw[world.masks_nhw == 4] = 0  # no pixel of the last class is left
    for index in range(2):
        make_member(tmp_path, f"net{index}", world=world)
    result = ens("explain", ensemble.combine(method="average", runs=tmp_path).ensemble.path)
    assert result.exit_code == 0, result.output
    assert "nan" not in result.stdout
    assert re.search(r"big rock +(- +){5}-", result.stdout)


def test_quiet_is_the_sentence_and_json_the_tables(
    ens: Ens, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensemble.report import write_explanation as report

    folders: list[Path] = []
    monkeypatch.setattr(report, "write_explanation", lambda found, folder, progress: folders.append(folder) or [])
    quiet = ens("explain", path, "--quiet", "--out", tmp_path / "why")
    assert quiet.exit_code == 0, quiet.output
    printed = json.loads(ens("explain", path, "--json", "--no-picture").stdout)
    assert " ".join(quiet.stdout.split()) == printed["sentence"]
    assert folders == [tmp_path / "why"]  # and none under --no-picture
    assert printed["files"] == []
    assert set(printed["tables"]) == TABLES
    assert printed["tables"]["systems"][-1]["system"] == "oracle"
    assert printed["tables"]["calibration"][0]["temperature"] > 0
    assert printed["sampled_pixels"] > 100


def test_mistakes_are_one_sentence(ens: Ens, path: Path, tmp_path: Path) -> None:
    (member, *_) = sorted((tmp_path / "members").iterdir())
    wrong = ens("explain", member)
    assert wrong.exit_code == 2
    assert "expected an ensemble, got the member" in wrong.stderr
    unknown = ens("explain", "averages", "--runs", tmp_path)
    assert unknown.exit_code == 2
    assert "unknown member or ensemble 'averages'" in unknown.stderr
    (member / "status.json").unlink()
    missing = ens("explain", path)
    assert missing.exit_code == 2
    assert member.name in missing.stderr
