"""The record of equal bits: what is compared, and that the kept record holds no difference."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def same_bits() -> dict[str, Any]:
    """Return the names of the benchmark."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS / "benchmarks"))
        return runpy.run_path(str(EXPERIMENTS / "benchmarks" / "same_bits.py"))


def test_both_versions_are_asked_for_the_same(same_bits: dict[str, Any]) -> None:
    component = same_bits["component"]
    assert component("arch", "unet", {"filters": 8}, old=False) == ["--arch", "unet(filters=8)"]
    assert component("arch", "unet", {"filters": 8}, old=True) == ["--arch", "unet", "--arch-option", "filters=8"]
    weights = {"weights": [2, 1]}
    assert component("method", "weighted", weights, old=False) == ["--method", "weighted(weights=[2, 1])"]
    assert component("method", "weighted", weights, old=True) == ["--method", "weighted", "--weights", "2,1"]


def test_only_times_and_words_are_left_out(same_bits: dict[str, Any]) -> None:
    content = {"miou": 0.5, "seconds": 3, "verdict": {"advice": "x", "low": [0.1, {"notes": []}]}}
    assert same_bits["without_words"](content) == {"miou": 0.5, "verdict": {"low": [0.1, {}]}}
    assert same_bits["of_json"]({"miou": 0.5}) != same_bits["of_json"]({"miou": 0.6})


def test_the_kept_record_has_every_result_and_no_difference() -> None:
    record = pd.read_csv(EXPERIMENTS / "results" / "same-bits.csv", dtype=str)
    assert record["before"].tolist() == record["after"].tolist()
    assert sum(record["result"].str.endswith(".safetensors")) == 3
    ensembles = [name for name in record["result"] if name.startswith("ensembles/") and name.endswith("scores.json")]
    assert len(ensembles) >= 12
    assert {"combine --all-methods", "compare", "results"} <= set(record["result"])
