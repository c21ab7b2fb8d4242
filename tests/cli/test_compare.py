"""``ens compare``: tables and a sentence for people, CSV and JSON for programs, errors in one sentence."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import Result

import ensemble
from ensemble.runs.member import Member

Ens = Callable[..., Result]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, make_member: Callable[..., Member], make_world: Callable[..., Any]
) -> Path:
    """Two architectures with two seeds each, and the average of all four."""
    folder, world = tmp_path_factory.mktemp("made"), make_world(images=40)
    for name, quality in (("unet", 1.8), ("linknet", 0.8)):
        for seed in range(2):
            make_member(folder, name, quality=quality, seed=seed, world=world)
    ensemble.combine(method="average", runs=folder)
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of what was made."""
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def test_help_shows_an_example(ens: Ens) -> None:
    assert "Example:  ens compare" in ens("compare", "--help").stdout


def test_pairs_in_tables_and_a_sentence(ens: Ens, runs: Path) -> None:
    result = ens("compare", "average", "unet-ce-s0", "linknet-ce-s1", "--runs", runs)
    assert result.exit_code == 0, result.output
    for words in (
        "IoU in % on 40 shared images of 20 groups",
        "A  average-4-",
        "A - B",
        "B - C",
        "Holm p",
        "effect size d",
        "objects: F1 in % (found, right); IoU of at least 0.5",
        "differences in the F1 of objects",
        "big rock",
        "note: average-4-",
        "For the change that another seed makes, use --factor.",
    ):
        assert words in result.stdout
    assert "(Holm's correction for 3 pairs). In mIoU without big rock, average-4-" in " ".join(result.stdout.split())
    assert result.stdout.rstrip().endswith("(Holm's correction for 15 differences).")


def test_classes_that_few_groups_hold_are_marked_and_get_no_star(ens: Ens, runs: Path) -> None:
    names = ("unet-ce-s0", "linknet-ce-s1", "--runs", runs)
    rows = {row["score"]: row for row in json.loads(ens("compare", *names, "--json").stdout)["rows"]}
    rare = [name for name, row in rows.items() if row["few_groups"]]
    assert rare == ["big rock", "object F1 of big rock"]
    text = ens("compare", *names).stdout
    for name, row in rows.items():
        value = f"{100 * row['difference']:+.2f} ({100 * row['low']:+.2f} to {100 * row['high']:+.2f})"
        star = "*" if row["p_holm"] < 0.05 and name not in ("mIoU", *rare) else ""
        assert f" {'~' if name in rare else ''}{value}{star}" in text, name
    assert "~ fewer than 20 groups hold the class: intervals of such a difference miss the truth in up to 23%" in text
    assert "~" in ens("compare", "--factor", "architecture", "--runs", runs).stdout


def test_quiet_json_and_csv(ens: Ens, runs: Path) -> None:
    names = ("unet-ce-s0", "linknet-ce-s0", "--runs", runs)
    quiet = ens("compare", *names, "--quiet").stdout
    content = json.loads(ens("compare", *names, "--json").stdout)
    assert " ".join(quiet.split()) == content["sentence"]
    assert "is better than" in content["sentence"]
    assert (content["images"], content["groups"], len(content["miou"])) == (40, 20, 2)
    classes = ["soil", "bedrock", "sand", "big rock"]
    objects = ["object F1", *(f"object F1 of {name}" for name in classes)]
    assert [row["score"] for row in content["rows"]] == ["mIoU", *classes, "mIoU without big rock", *objects]
    frame = pd.read_csv(io.StringIO(ens("compare", *names, "--format", "csv").stdout))
    assert frame.to_dict("records")[0] == pytest.approx(content["rows"][0])


def test_the_effect_of_a_factor(ens: Ens, runs: Path) -> None:
    result = ens("compare", "--factor", "architecture", "--baseline", "unet", "--runs", runs)
    assert result.exit_code == 0, result.output
    assert "effect of architecture against unet, averaged over the other settings" in result.stdout
    assert "noise of one run: " in result.stdout
    assert "(2 degrees of freedom)" in result.stdout
    assert "Compared with unet, in points of mIoU: " in result.stdout
    content = json.loads(
        ens("compare", "unet-ce-s0", "linknet-ce-s0", "--factor", "arch", "--runs", runs, "--json").stdout
    )
    assert content["noise"] is None  # no replicates: NaN is no JSON
    assert content["spare"] == 0
    assert "not for training again" in content["notes"][-1]


def test_the_images_and_seeds_needed(ens: Ens, runs: Path) -> None:
    result = ens("compare", "--power", "0.5", "--runs", runs)
    assert result.exit_code == 0, result.output
    assert "0.5 points of mIoU at 5 % with 80 % power; the steadiest, the median and the most variable" in result.stdout
    assert "visible on 20 groups" in result.stdout
    assert "seeds of each" in result.stdout
    content = json.loads(ens("compare", "unet-ce-s0", "unet-ce-s1", "--power", "2", "--runs", runs, "--json").stdout)
    assert content["difference"] == pytest.approx(0.02)
    assert content["seeds"]["freedom"] == 2  # of all members of these data, not of the two named
    assert content["rows"][0]["safe_groups"] >= content["rows"][0]["groups"]


def test_too_few_groups_give_no_chances(
    ens: Ens, tmp_path: Path, make_member: Callable[..., Member], make_world: Callable[..., Any]
) -> None:
    world = make_world(images=6)
    first, second = (make_member(tmp_path, name, world=world).path for name in ("unet", "linknet"))
    text = ens("compare", first, second, "--runs", tmp_path).stdout
    line = next(line for line in text.splitlines() if "A - B" in line and "no interval" in line)
    assert line.replace("\u2502", " ").split()[-4:] == ["-"] * 4


def test_older_data_is_left_out_and_named(
    ens: Ens, runs: Path, make_member: Callable[..., Member], make_world: Callable[..., Any]
) -> None:
    old = make_world(images=40, split_hash="2" * 32)
    other = make_member(runs, "fpn", world=old, finished="2020-01-01T00:00:00+00:00")
    result = ens("compare", "--factor", "architecture", "--runs", runs)
    assert "note: 1 member of other data or splits is left out" in result.stdout
    assert "fpn" not in result.stdout
    mixed = ens("compare", "unet-ce-s0", other.path, "--runs", runs)
    assert mixed.exit_code == 2
    assert "were scored on different split" in mixed.stderr


def test_members_that_cannot_be_read_are_left_out_with_one_note(
    ens: Ens, runs: Path, make_member: Callable[..., Member], make_world: Callable[..., Any]
) -> None:
    whole = ens("compare", "--factor", "architecture", "--runs", runs, "--format", "csv")
    assert whole.stderr == ""
    old = [make_member(runs, "fpn", seed=seed, world=make_world(images=40)).path for seed in range(2)]
    for path in old:
        (path / "config.json").write_text("{}")
    note = f"left out: 2 runs ({', '.join(sorted(path.name for path in old))}): config.json differs from what was"
    result = ens("compare", "--factor", "architecture", "--runs", runs)
    assert result.exit_code == 0, result.output
    assert result.stdout.count(note) == result.stdout.count("config.json") == 1
    content = json.loads(ens("compare", "--factor", "architecture", "--runs", runs, "--json").stdout)
    assert content["notes"][0].startswith(note)
    table = ens("compare", "--factor", "architecture", "--runs", runs, "--format", "csv")
    assert table.stdout == whole.stdout
    assert table.stderr.startswith(f"note: {note}")
    for power in (("unet-ce-s0", "unet-ce-s1", "--power", "2"), ("--power", "2")):
        assert note in ens("compare", *power, "--runs", runs).stdout
    named = ens("compare", "unet-ce-s0", old[0], "--factor", "architecture", "--runs", runs)
    assert "config.json differs from what was" in named.stderr
    for path in runs.glob("members/*net*"):
        (path / "config.json").write_text("{}")
    assert "there is no member that can be read in" in ens("compare", "--factor", "loss", "--runs", runs).stderr


MISTAKES: list[tuple[tuple[str, ...], str]] = [
    ((), "expected two or more runs to compare, got none; name them, or give --factor or --power"),
    (("unet-ce-s0",), "expected at least two members or ensembles to compare, got 1"),
    (("unet-ce-s0", "unet-ce-s0"), "was given twice"),
    (("unet", "linknet-ce-s0"), "'unet' matches 2 names"),
    (("unet-ce-s0", "nothing"), "unknown member or ensemble 'nothing'"),
    (("--factor", "los"), "unknown factor 'los'; did you mean 'loss'?"),
    (("--factor", "loss"), "comparable runs use loss=ce; train at least one member with a different loss"),
    (
        ("--factor", "architecture", "--baseline", "unit"),
        "unknown level 'unit' of architecture; did you mean 'unet'?",
    ),
    (
        ("unet-ce-s0", "linknet-ce-s0", "--baseline", "unet"),
        "--baseline is a level of --factor, but --factor is missing",
    ),
    (("--power", "0"), "expected a difference between 0 and 100 points of mIoU, got 0"),
    (("--power", "0.5", "--factor", "loss"), "expected --factor or --power, got both"),
    (("unet-ce-s0", "linknet-ce-s0", "--format", "cvs"), "unknown format 'cvs'; did you mean 'csv'?"),
]


def test_mistakes_are_one_sentence(ens: Ens, runs: Path) -> None:
    for arguments, message in MISTAKES:
        result = ens("compare", *arguments, "--runs", runs)
        assert result.exit_code == 2, arguments
        assert result.stdout == ""
        assert message in " ".join(result.stderr.split())


def test_an_empty_folder_is_reported(ens: Ens, tmp_path: Path) -> None:
    result = ens("compare", "--factor", "loss", "--runs", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "there is no finished member in" in result.stderr
