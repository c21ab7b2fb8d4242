"""The dry run: what is measured, how it is added up, and what cannot be known."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ensemble.cli import app
from ensemble.study import read_recipe
from ensemble.study.estimate import OVERHEAD, START_SECONDS, estimate, total_seconds
from ensemble.study.plan_study import plan_study
from ensemble.training import cost as measure
from ensemble.training.cost import MeasureSettings

TEXT = """
name = "tiny"
[defaults]
loss = "ce"
epochs = 3
device = "cpu"
precision = "fp32"
[[grid]]
arch = ["unet-baseline(filters=2, depth=1)", "unet(filters=2, depth=1)"]
seed = [0, 1]
[[ensembles]]
method = "average"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Two architectures with two seeds."""
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT)
    return path


def test_each_architecture_is_measured_by_as_many_processes_as_train_at_a_time(
    recipe: Path, tmp_path: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, seen = Barrier(2, timeout=10), list[MeasureSettings]()

    def fake(settings: MeasureSettings) -> dict[str, Any]:
        beside.wait()  # breaks unless two measure at the same time
        seen.append(settings)
        number = 1 + len(seen) % 2
        return {
            "name": settings.name,
            "train_images_per_second": 10.0 * number,
            "peak_memory_mb": number,
            "error": None,
        }

    monkeypatch.setattr(measure, "in_a_fresh_process", fake)
    planned = plan_study(read_recipe(recipe, str(tiny_npz)), tmp_path / "runs", threads=1)
    frame = estimate(planned, jobs=2)
    assert [one.name for one in seen] == ["unet-baseline"] * 2 + ["unet"] * 2
    assert {(one.threads, one.device, one.precision) for one in seen} == {(1, "cpu", "fp32")}
    assert frame["state"].tolist() == ["new"] * 4
    assert set(frame["images_per_second"]) == {15.0}  # the mean of 10 and 20
    assert set(frame["memory_mb"]) == {2}
    images = planned[0].images
    assert images is not None
    assert images % 3 == 0  # three epochs
    assert frame["seconds"].tolist() == pytest.approx([START_SECONDS + OVERHEAD * images / 15] * 4)
    assert not (tmp_path / "runs").exists()


def test_one_that_cannot_be_measured_says_why_and_is_not_counted_as_nothing(
    recipe: Path, tmp_path: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(settings: MeasureSettings) -> dict[str, Any]:
        if settings.name == "unet":
            return {"name": settings.name, "error": "the process ended with code -9"}
        return {"name": settings.name, "train_images_per_second": 1.0, "peak_memory_mb": 50.0, "error": None}

    monkeypatch.setattr(measure, "in_a_fresh_process", fake)
    monkeypatch.setenv("COLUMNS", "200")
    command = ["study", str(recipe), "--data", str(tiny_npz), "--out", str(tmp_path / "runs"), "--dry-run"]
    told = CliRunner().invoke(app, [*command, "--jobs", "2"])
    assert told.exit_code == 0, told.output
    assert "the process ended with code -9" in told.output
    assert "2 at a time" in told.output
    assert "the time of 2 members could not be measured and is not included" in " ".join(told.output.split())
    content = json.loads(CliRunner().invoke(app, [*command, "--jobs", "1", "--json"]).stdout)
    known = [row["seconds"] for row in content["members"] if row["seconds"] is not None]
    assert len(known) == 2
    assert content["seconds"] == pytest.approx(sum(known))
    assert (content["jobs"], content["ensembles"]) == (1, 1)


@given(st.lists(st.integers(0, 1000), max_size=12), st.integers(1, 5))
def test_the_last_end_lies_within_the_bounds_of_list_scheduling(seconds: list[int], jobs: int) -> None:
    total, longest = sum(seconds), max(seconds, default=0)
    found = total_seconds(seconds, jobs)
    assert max(total / jobs, longest) <= found <= total / jobs + longest * (1 - 1 / jobs) + 1e-6  # Graham, 1966
    assert total_seconds(seconds, 1) == total
