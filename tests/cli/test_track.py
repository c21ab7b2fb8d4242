"""``ens track``: a line of counts and the command to look at them, JSON for programs, errors in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from ensemble.runs.member import Member

Ens = Callable[..., Result]


@pytest.fixture
def runs(tmp_path: Path, make_member: Callable[..., Member]) -> Path:
    """Two members."""
    for name in ("unet", "pspnet"):
        make_member(tmp_path / "runs", name)
    return tmp_path / "runs"


def test_help_shows_an_example(ens: Ens) -> None:
    assert "Example:  ens track" in ens("track", "--help").stdout


def test_counts_and_how_to_look_at_them(ens: Ens, runs: Path, tmp_path: Path) -> None:
    first = ens("track", "--runs", runs, "--to", "tensorboard", "--out", tmp_path / "events")
    assert first.exit_code == 0, first.output
    assert first.stdout.splitlines() == [
        f"to see the runs:  tensorboard --logdir {tmp_path / 'events'}",
        f"2 new, 0 changed, 0 unchanged in {tmp_path / 'events'}",
    ]
    again = ens("track", "--runs", runs, "--to", "tensorboard", "--out", tmp_path / "events", "--quiet")
    assert again.stdout == f"0 new, 0 changed, 2 unchanged in {tmp_path / 'events'}\n"


def test_json_names_every_run_and_what_was_left_out(ens: Ens, runs: Path) -> None:
    damaged, whole = sorted((runs / "members").iterdir())
    (damaged / "scores.json").unlink()
    result = ens("track", "--runs", runs, "--to", "tensorboard", "--json")
    told = json.loads(result.stdout)
    assert told["runs"] == {whole.name: "new"}
    assert told["out"] == str(runs / "tracking" / "tensorboard")
    assert damaged.name in told["left_out"][0]
    assert result.exit_code == 2
    assert result.stderr.startswith("error: left out of the export: ")
    assert damaged.name in result.stderr


def test_mistakes_are_one_sentence(ens: Ens, runs: Path, tmp_path: Path) -> None:
    wrong = ens("track", "--runs", runs, "--to", "mlfow")
    assert wrong.exit_code == 2
    assert "unknown tracker 'mlfow'; did you mean 'mlflow'?" in wrong.stderr
    empty = ens("track", "--runs", tmp_path / "nowhere", "--to", "tensorboard")
    assert empty.exit_code == 2
    assert "there is no folder" in empty.stderr
    assert "--to" in ens("track", "--runs", runs).stderr
