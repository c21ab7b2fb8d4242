"""Are the figures of the dry runs those of the studies?"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "experiments" / "benchmarks" / "dry_runs.py"
TEXT = """
name = "tiny"
[defaults]
arch = "unet-baseline(filters=2, depth=1)"
loss = "ce"
epochs = 2
batch_size = 4
[[grid]]
seed = [0, 1]
[[ensembles]]
method = "average"
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARK), *map(str, arguments)]
    return subprocess.run(command, text=True, capture_output=True, check=False)


@pytest.mark.slow
def test_a_row_with_the_estimate_and_what_it_took(tiny_npz: Path, tmp_path: Path) -> None:
    recipe, out, runs = tmp_path / "tiny.toml", tmp_path / "dry.csv", tmp_path / "runs"
    recipe.write_text(TEXT)
    arguments = (tiny_npz, "--out", out, "--recipe", recipe, "--train", recipe, "--runs", runs)
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(out.read_text().splitlines())
    assert (row["recipe"], row["members"], row["measured"], row["ensembles"]) == ("tiny", "2", "1", "1")
    assert 0 < float(row["estimated_seconds"]) < 60
    assert float(row["actual_to_estimated"]) == pytest.approx(
        float(row["actual_seconds"]) / float(row["estimated_seconds"]), abs=0.02
    )
    assert len(list((runs / "members").iterdir())) == 2
    again = run(*arguments)
    assert again.returncode == 2
    assert "expected a folder without members of 'tiny'" in again.stderr
    strange = run(tiny_npz, "--out", out, "--recipe", recipe, "--train", "seeds")
    assert "expected --train to name some of" in strange.stderr
