"""Small planted truths of the benchmark of comparisons."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark, small enough here; ``experiments/results/comparison-rates.csv`` holds its full size."""
    monkeypatch.syspath_prepend(ROOT / "experiments" / "benchmarks")
    return importlib.import_module("comparison_rates")


def measured(rows: list[dict[str, Any]], **where: Any) -> tuple[float, float]:
    (row,) = (row for row in rows if all(row[key] == value for key, value in where.items()))
    return row["value"], row["standard_error"]


def test_holm_keeps_false_differences_rare_among_ten_pairs(rates: Any) -> None:
    rows = rates.holm_rows(0.2, 60, 0.0, simulations=200, resamples=200, people=1500, seed=0)
    plain, error = measured(rows, method="uncorrected")
    assert plain > 0.12 + 2 * error  # ten pairs are ten chances
    corrected, _ = measured(rows, method="holm")
    assert corrected < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_factor_effects_are_recovered_on_an_unbalanced_grid(rates: Any) -> None:
    pool = rates.trainings(0.2, 0.15, people=400, copies=6, seed=0)
    rows = rates.factor_rows("unbalanced", 0.15, 100, pool, simulations=200, seed=0)
    for truth in (0.0, -2.0):
        bias, error = measured(rows, truth_points=truth, measure="bias in points")
        assert abs(bias) < 4 * error
        misses, _ = measured(rows, truth_points=truth, method="two-way", measure="misses")
        assert misses < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
        narrow, error = measured(rows, truth_points=truth, method="groups only", measure="misses")
        assert narrow > misses + error  # images alone do not show the noise of training


def test_the_power_promised_is_seen(rates: Any) -> None:
    rows = rates.power_rows("twins", 0.2, 0.05, simulations=150, resamples=400, people=1500, seed=0)
    promised, _ = measured(rows, method="pilot", measure="power promised")
    seen, error = measured(rows, method="pilot", measure="power seen")
    assert abs(promised - seen) < 0.08 + 3 * error
    enough, error = measured(rows, method="safe", measure="power seen")
    assert enough > 0.8 - 4 * error
