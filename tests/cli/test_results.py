"""``ens results``: what a person sees, what files get, and what mistakes are answered with."""

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

from ensemble.combining.combine import combine
from ensemble.core.locks import locked
from ensemble.runs.member import Member
from ensemble.runs.status import write_status

Ens = Callable[..., Result]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for the runs that all tests here read."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def runs(made: Path, make_member: Callable[..., Member]) -> Path:
    """Two seeds of a U-Net, a PSPNet and the average of the three."""
    if not (made / "ensembles").is_dir():
        members = [make_member(made, "unet", quality=1.0 + seed / 2, seed=seed) for seed in (0, 1)]
        members.append(make_member(made, "pspnet", quality=2.5))
        combine(members, method="average", runs=made)
    return made


def test_what_is_not_finished_is_named(
    ens: Ens, runs: Path, tmp_path: Path, make_member: Callable[..., Member]
) -> None:
    folder = tmp_path / "runs"
    stopped = make_member(folder, "unet")
    write_status(stopped.path, "member", "training")
    text = f"not finished: {stopped.name}; repeat the train command to resume"
    assert text in " ".join(ens("results", "--runs", folder).stdout.split())
    make_member(folder, "pspnet")
    assert text in " ".join(ens("results", "--runs", folder).stdout.split())
    assert f"not finished: {stopped.name} (training)" in " ".join(ens("verify", "--runs", folder).output.split())
    assert "not finished" not in ens("results", "--runs", folder, "--format", "csv").output
    with locked(stopped.path):
        assert f"in training now: {stopped.name}" in " ".join(ens("results", "--runs", folder).stdout.split())
        assert f"in training now: {stopped.name}" in " ".join(ens("verify", "--runs", folder).output.split())
    assert "not finished" not in ens("results", "--runs", runs).output


def test_lost_files_are_named(ens: Ens, runs: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(runs, tmp_path / "runs"))
    for path in (copy / "members").iterdir():
        (path / "confusions.npz").unlink()
    (path,) = (copy / "ensembles").iterdir()
    (path / "confusions.npz").unlink()
    result = ens("results", "--runs", copy, "--format", "csv")
    assert result.exit_code == 0
    assert len(pd.read_csv(io.StringIO(result.stdout))) == 4
    assert result.stderr.count("has lost confusions.npz; remove it with `ens remove ") == 3
    assert "note: and 1 more; `ens verify` names all" in result.stderr


def test_the_table_with_its_notes(ens: Ens, runs: Path) -> None:
    text = ens("results", "--runs", runs).stdout
    assert all(each in text for each in ("average of 3", "pspnet-ce-s0-", "mIoU %", "95 % interval", "big rock"))
    assert "'big rock' is in" in text
    assert "mIoU in % on images that the members were not trained on" in text


def test_a_narrow_terminal_keeps_networks_losses_and_scores(
    ens: Ens, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    head, *rows = ens("results", "--runs", runs).stdout.splitlines()
    assert all(title in head for title in ("name", "architecture", "loss", "mIoU %"))
    assert all(len(line) <= 80 for line in (head, *rows[:4]))
    (note,) = [line for line in rows if line.startswith("columns left out to fit 80 characters: ")]
    assert "log-loss" in note
    assert note.endswith("; --columns or --out shows them")


def test_rows_are_chosen_and_sorted(ens: Ens, runs: Path) -> None:
    rows = json.loads(ens("results", "--runs", runs, "--where", "arch == 'unet'", "--sort", "ece", "--json").stdout)
    assert [row["architecture"] for row in rows] == ["unet", "unet"]
    assert rows[0]["ece"] <= rows[1]["ece"]
    none = ens("results", "--runs", runs, "--where", "seed == 7")
    assert (none.exit_code, none.stdout.strip()) == (0, "--where matches none of the 4 runs; choose another condition")
    assert ens("results", "--runs", runs, "--where", "seed == 7", "--format", "csv").stdout.startswith("name,kind,")


def test_means_over_seeds(ens: Ens, runs: Path) -> None:
    frame = pd.read_csv(io.StringIO(ens("results", "--runs", runs, "--by", "arch,loss", "--format", "csv").stdout))
    assert dict(zip(frame["architecture"], frame["n"], strict=True)) == {"unet": 2, "pspnet": 1}
    text = ens("results", "--runs", runs, "--by", "arch, loss").stdout
    assert " \u00b1 " in text
    assert "1 ensemble has no such factor and is left out." in text


@pytest.mark.parametrize("words", [("arch", "x", "seed"), ("arch x seed",), ("arch,seed",), ("architecture X seed",)])
def test_a_pivot_in_quotes_or_not(ens: Ens, runs: Path, words: tuple[str, ...]) -> None:
    text = ens("results", "--pivot", *words, "--runs", runs).stdout
    head, *rows = [line.split() for line in text.splitlines()[:3]]
    assert head == ["architecture", "0", "1"]
    assert [row[0] for row in rows] == ["pspnet", "unet"]
    assert rows[0][2] == "-"
    assert "Each cell is the mean miou of the n runs that share both factors." in text


def test_columns_and_intervals(ens: Ens, runs: Path) -> None:
    text = ens("results", "--runs", runs, "--columns", "name,big rock,log_loss", "--intervals").stdout.splitlines()
    assert text[0].split("  ")[0] == "name"
    assert text[0].split()[1:] == ["big", "rock", "log-loss"]
    assert "(" in text[1]
    frame = pd.read_csv(io.StringIO(ens("results", "--runs", runs, "--columns", "arch,sand", "--format", "csv").stdout))
    assert list(frame) == ["architecture", "iou_sand"]


def test_the_front_is_marked(ens: Ens, runs: Path) -> None:
    rows = json.loads(ens("results", "--runs", runs, "--pareto", "--cost", "parameters", "--json").stdout)
    assert [row["name"].startswith("pspnet") for row in rows if row["pareto"]][-1]
    text = ens("results", "--runs", runs, "--pareto").stdout
    narrow = ens("results", "--runs", runs, "--pareto", "--columns", "name,miou").stdout.splitlines()
    assert narrow[0].split() == ["name", "pareto", "mIoU", "%"]
    assert "*: no run of at most this cost (seconds) has a better miou; intervals may overlap." in text


def test_a_very_long_table_says_that_it_goes_on(ens: Ens, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.cli.results.MOST_ROWS", 2)
    text = ens("results", "--runs", runs, "--columns", "kind,miou").stdout
    assert sum(line.startswith(("member", "ensemble")) for line in text.splitlines()) == 2
    assert "only 2 of 4 rows are shown; --where chooses rows, --out writes all" in text
    assert len(json.loads(ens("results", "--runs", runs, "--json").stdout)) == 4


@pytest.mark.parametrize(
    ("file", "start"),
    [
        ("t.csv", "name,kind,"),
        ("t.md", "| name"),
        ("t.tex", r"\begin{table}"),
        ("t.html", "<!DOCTYPE html>"),
        ("t.txt", "| name"),
    ],
)
def test_a_file_has_the_format_of_its_name(ens: Ens, runs: Path, tmp_path: Path, file: str, start: str) -> None:
    result = ens("results", "--runs", runs, "--out", tmp_path / file)
    assert result.stdout.strip() == str(tmp_path / file)
    text = (tmp_path / file).read_text()
    assert text.startswith(start)
    assert ("not significantly worse than the best" in text) == (file != "t.csv")


def test_a_format_that_is_named_counts(ens: Ens, runs: Path, tmp_path: Path) -> None:
    ens("results", "--runs", runs, "--out", tmp_path / "t.csv", "--format", "parquet")
    assert len(pd.read_parquet(tmp_path / "t.csv")) == 4
    assert ens("results", "--runs", runs, "--format", "latex").stdout.startswith(r"\begin{table}")


def test_a_damaged_run_is_named_after_the_table_of_the_others(
    ens: Ens, tmp_path: Path, make_member: Callable[..., Member]
) -> None:
    good, bad, worse = (make_member(tmp_path, "unet", seed=seed) for seed in range(3))
    (bad.path / "scores.json").unlink()
    result = ens("results", "--runs", tmp_path)
    assert result.exit_code == 2
    assert good.name in result.stdout
    assert len(result.stderr.splitlines()) == 1
    assert f"error: left out of the table: {bad.path}/scores.json is missing" in result.stderr
    (worse.path / "config.json").write_text("{}")
    result = ens("results", "--runs", tmp_path, "--format", "csv")
    assert result.exit_code == 2
    assert len(pd.read_csv(io.StringIO(result.stdout))) == 1
    assert result.stderr.startswith(f"error: left out of the table: {bad.path}/scores.json is missing")
    assert f"; {worse.path}/config.json differs" in result.stderr
    (good.path / "scores.json").unlink()
    text = ens("results", "--runs", tmp_path).stderr
    names = ", ".join(sorted((good.name, bad.name)))
    assert text.startswith(f"error: left out of the table: 2 runs ({names}): scores.json is missing; remove it with")
    assert text.count("scores.json is missing") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--where", "loss = 'ce'"), "expected comparisons of columns joined by and, or, not"),
        (("--where", "los == 'ce'"), "unknown column 'los'; did you mean 'loss'?"),
        (("--by", "arch,lss"), "unknown column 'lss'; did you mean 'loss'?"),
        (("--pivot", "arch"), "expected two factors for --pivot, such as arch x loss, got 'arch'"),
        (("--pivot", "arch x loss x seed"), "expected two factors for --pivot"),
        (("--pivot", "arch x loss", "--by", "seed"), "pivot cannot be combined with by, columns or cost (--pareto)"),
        (("--columns", "nam"), "unknown column 'nam'; did you mean 'name'?"),
        (("--pareto", "--cost", "miou"), "expected a cost, got miou"),
        (("--pareto", "--cost", "gflops"), "no run has its gflops recorded; choose another cost"),
        (("miou",), "unexpected argument 'miou'; options begin with --, such as --sort miou"),
        (("--format", "xlsx"), "unknown format 'xlsx'. Known: csv, html, latex, markdown, parquet, table"),
    ],
)
def test_mistakes(ens: Ens, runs: Path, arguments: tuple[str, ...], text: str) -> None:
    result = ens("results", *arguments, "--runs", runs)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {text}"), result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [("--by", "arch"), ("--pivot", "arch", "x", "loss"), ("--pareto",), ("--format", "html"), ("--json",)]
)
def test_an_empty_folder_is_no_error(ens: Ens, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result: Any = ens("results", *arguments, "--runs", tmp_path)
    assert result.exit_code == 0
    if "--format" not in arguments and "--json" not in arguments:
        assert result.stdout == f"there is no finished member in {tmp_path}; train one with `ens train`\n"
    missing = ens("results", *arguments, "--runs", tmp_path / "none")
    assert missing.exit_code == 2
    assert missing.stderr.startswith(f"error: there is no folder {tmp_path / 'none'}; train a member with `ens train`")


def test_the_help_shows_how_a_pivot_is_written(ens: Ens) -> None:
    text = " ".join(ens("results", "--help").stdout.split())
    assert "Usage: ens results [OPTIONS] " in text
    assert "FACTOR" not in text
    assert "ens results --pivot arch x loss" in text
    assert "Arguments" not in text
