"""The benchmarks of start-up and of members at once: their parsing, ratios and errors."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ensemble.core.errors import EnsError

BENCHMARKS = Path(__file__).parents[2] / "experiments" / "benchmarks"
POSIX = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are of POSIX")


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("jobs")


@pytest.fixture
def startup(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("startup")


def test_gains_of_jobs_are_within_rounds(jobs: Any) -> None:
    rounds = [
        {1: {"seconds": 100.0, "training_seconds": 20.0}, 2: {"seconds": 80.0, "training_seconds": 32.0}},
        {1: {"seconds": 150.0, "training_seconds": 30.0}, 2: {"seconds": 100.0, "training_seconds": 60.0}},
        {1: {"seconds": 90.0, "training_seconds": 18.0}, 2: {"seconds": 90.0, "training_seconds": 24.0}},
    ]
    one, two = jobs.rows_of("pspnet", rounds)
    assert (one["jobs"], one["times_faster"], one["times_faster_in_training"]) == (1, 1.0, 1.0)
    assert [two[f"times_faster{end}"] for end in ("", "_min", "_max")] == [1.25, 1.0, 1.5]
    assert [two[f"times_faster_in_training{end}"] for end in ("", "_min", "_max")] == [1.25, 1.0, 1.5]
    assert (two["seconds"], two["training_seconds_each"], two["rounds"]) == (90.0, 32.0, 3)


@pytest.mark.slow
def test_members_are_trained_at_once(jobs: Any, tiny_npz: Path) -> None:
    arguments = {"data": str(tiny_npz), "loss": "ce", "epochs": 1, "batch_size": 4, "device": "cpu"}
    found = jobs.train_all(jobs.jobs_of("unet-baseline", 2, arguments, 2), 2)
    assert 0 < found["training_seconds"] < found["seconds"]
    broken = [jobs.Job("unet-baseline 0", "x", arguments | {"arch": "pspnett"})]
    with pytest.raises(EnsError, match=r"unet-baseline 0 failed: .*pspnett"):
        jobs.train_all(broken, 1)


SAID = b"""import time: self [us] | cumulative | imported package
import time:       100 |        100 |   torch._C
import time:      2000 |       2100 | torch
\x1b[2Kimport time:       300 |        300 |     json.decoder\r
import time:        50 |         50 |   ensemble.training.loop\r
import time:       700 |       3150 | collections
"""


def test_imports_are_summed_by_package(startup: Any) -> None:
    found = startup.import_seconds(SAID)
    assert found.most_common() == [("torch", 0.0021), ("standard library", 0.001), ("ensemble", 0.00005)]
    assert found.total() == pytest.approx(0.00315)


def test_only_the_bar_of_the_training_ends_the_clock(startup: Any) -> None:
    assert startup.BAR.search(SAID) is None
    assert startup.BAR.search(b"hashing images \x1b[35m--------\x1b[0m 12/600 0:00:01 ETA") is None
    assert startup.BAR.search(b"\x1b[2Ktraining \x1b[38;5;237m----\x1b[0m \x1b[32m1/60\x1b[0m 0:00:00 ETA")
    assert startup.BAR.search(b"training fold 1 ---- 1/60 0:00:00 ETA")


def test_runs_that_do_not_count_are_left_out(startup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[tuple[str, ...]]()

    def run(arguments: list[str], *flags: str) -> tuple[float, bytes]:
        assert arguments == ["results"]
        seen.append(flags)
        return [9.0, 1.0, 3.0, 2.0, 8.0][len(seen) - 1], SAID if flags else b""

    monkeypatch.setattr(startup, "whole", run)
    row = startup.measure("ens results", ["results"], 1.5, 3)
    assert seen == [(), (), (), (), ("-X", "importtime")]
    assert (row["seconds"], row["seconds_min"], row["seconds_max"], row["goal_seconds"]) == (2.0, 1.0, 3.0, 1.5)
    assert row["imports"] == "torch 0.002, standard library 0.001, ensemble 0.000"


def test_a_command_that_fails_is_told_in_one_sentence(startup: Any) -> None:
    with pytest.raises(EnsError, match=r"ens nothing ended with code 2: .*No such command"):
        startup.whole(["nothing"])


@POSIX
def test_a_training_that_fails_has_no_first_step(startup: Any) -> None:
    with pytest.raises(EnsError, match=r"ens train --unknown came to no first step: .*No such option"):
        startup.to_first_step(["train", "--unknown"])


@POSIX
@pytest.mark.slow
def test_the_clock_ends_at_the_first_step(startup: Any, tiny_npz: Path, tmp_path: Path) -> None:
    tiny = [*startup.TINY.split(), "--batch-size", "4", "--out", str(tmp_path)]
    seconds, said = startup.to_first_step(["train", str(tiny_npz), *tiny], "-X", "importtime")
    assert 0.5 < seconds < 300
    assert {"torch", "ensemble", "albumentations"} <= startup.import_seconds(said).keys()
    assert not list(tmp_path.glob("members/*/scores.json"))  # it was killed on the way


@pytest.mark.slow
def test_the_benchmark_runs(startup: Any, tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "startup.csv"
    monkeypatch.setattr(startup, "TINY", f"{startup.TINY} --input-size 32x32")
    options = ["--data", str(tiny_npz), "--arch", "unet-baseline", "--runs", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["startup.py", *options])
    startup.main()
    header, *rows = out.read_text().splitlines()
    assert header.startswith("command,seconds,")
    assert [row.split(",")[0].split()[1].strip('"') for row in rows] == ["--help", "results", "train"]
