"""Do the intervals hold the truth? A small seeded run of the coverage benchmark, and what its committed table says."""

from __future__ import annotations

import csv
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.evaluation import expected_calibration_error, iou_per_class

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "experiments" / "benchmarks"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[dict[str, Any]]:
    sys.path.insert(0, str(BENCHMARKS))  # the script shares its simulator with the one beside it
    try:
        yield runpy.run_path(str(BENCHMARKS / "coverage.py"))
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in ("verdict_rates", "planted_scenes"):
            sys.modules.pop(name, None)


def coverages(benchmark: dict[str, Any], people: Any, groups: int) -> dict[tuple[str, str], float]:
    rows = list(benchmark["measure"](people, groups, simulations=500, resamples=200, seed=5))
    assert all(row["data_sets"] > 450 for row in rows)
    for row in rows:
        assert row["coverage"] + row["too_high"] + row["too_low"] == pytest.approx(1, abs=2e-5)  # no limit is NaN
    return {(row["score"], row["interval"]): row["coverage"] for row in rows}


def test_planted_scenes_are_as_unequal_as_the_reference_problem(benchmark: dict[str, Any]) -> None:
    seen = benchmark["plant"](20_000, 54 / 736, 0)
    rock_n = np.sort(seen.pixels_nk[:, 3][seen.pixels_nk[:, 3] > 0.5])
    samples = np.sort(np.random.default_rng(0).choice(rock_n, (2000, 59)))
    assert (samples[:, -5:].sum(1) / samples.sum(1)).mean() == pytest.approx(0.62, abs=0.03)
    holders = (benchmark["by_group"](seen, seen.pixels_nk)[:, 3] > 0.5).sum()
    assert len(rock_n) / holders == pytest.approx(59 / 54, abs=0.03)
    assert holders / 20_000 == pytest.approx(54 / 736, abs=0.005)


def test_planted_truths_are_the_scores_of_the_package(benchmark: dict[str, Any]) -> None:
    table_nkk = benchmark["tables"](benchmark["plant"](300, 0.1, 0), "all or nothing")
    people = benchmark["rocky"]("all or nothing", 0.1, 300, 0)
    truths = people.score(people.values_gv.sum(0))
    np.testing.assert_allclose(truths[:4], iou_per_class(table_nkk.sum(0)), rtol=1e-12)
    assert truths[people.names.index("mIoU")] == pytest.approx(iou_per_class(table_nkk.sum(0)).mean())
    people = benchmark["probabilities"]("too sure", 300, 0)
    total_v = people.values_gv.sum(0)
    reference = expected_calibration_error(total_v[:45].reshape(3, 15))
    assert people.score(total_v)[1] == pytest.approx(reference)
    assert reference > 0.03


def test_rare_class_in_few_groups(benchmark: dict[str, Any]) -> None:
    found = coverages(benchmark, benchmark["rocky"]("finds", 8 / 60, 6000, 0), groups=60)
    # Bands of four standard errors: 1 % at the 95 % that is meant (and that 3,000 data sets find here), and
    # 1.2 % at the 91.5 % that these find for rock: 8 groups have mostly not seen the largest ones.
    for score in ("IoU of soil", "IoU of sand", "mIoU", "mean Dice"):
        assert 0.91 <= found[score, "package"] <= 0.99, score
    assert 0.866 <= found["IoU of rock", "package"] <= 0.964
    for score in ("IoU of soil", "IoU of sand"):
        assert 0.91 <= found[score, "widened"] <= 0.99, score
    assert found["IoU of rock", "percentile"] < 0.80  # what the other interval is for
    assert found["mIoU", "percentile"] < 0.90


def test_sums_over_pixels(benchmark: dict[str, Any]) -> None:
    found = coverages(benchmark, benchmark["probabilities"]("too sure", 4000, 0), groups=30)
    for score in ("pixel accuracy", "log-loss", "ECE"):
        assert 0.91 <= found[score, "widened"] <= 0.99, score
    assert 0.91 <= found["pixel accuracy", "package"] <= 0.99


def test_the_committed_table_says_what_the_readme_says() -> None:
    with (ROOT / "experiments" / "results" / "coverage.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert min(int(row["data_sets"]) for row in rows) >= 2000
    found = {
        name: [float(row["coverage"]) for row in rows if (row["score"], row["interval"]) == (name, "package")]
        for name in ("mIoU", "IoU of rock", "IoU of soil", "ECE")
    }
    assert [len(found[name]) for name in found] == [33, 33, 33, 10]
    assert min(found["mIoU"]) > 0.925
    assert min(found["IoU of soil"]) > 0.925
    assert min(found["IoU of rock"]) > 0.85
    assert min(found["ECE"]) > 0.94
