"""The kill test: it loses nothing of a training, it finds what is lost, and its kept record holds no fault."""

from __future__ import annotations

import random
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark forks and reads /proc")
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
COMMANDS = {"train", "study", "tune", "track mlflow", "track tensorboard", "report", "predict npz", "predict folder"}


def names_of(script: str) -> dict[str, Any]:
    """Return the names of a module of the benchmark."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS / "benchmarks"))
        return runpy.run_path(str(EXPERIMENTS / "benchmarks" / script))


@pytest.mark.slow
def test_twenty_kills_and_full_disks_lose_nothing_of_a_training(tmp_path: Path) -> None:
    script, seed = EXPERIMENTS / "benchmarks" / "kill_test.py", str(random.randrange(1000))
    command = [sys.executable, script, "--out", tmp_path / "kills.csv", "--command", "train", "--seed", seed]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    table: Any = pd.read_csv(tmp_path / "kills.csv")
    assert (table["ended_by"] == "SIGKILL").sum() == 20
    full = table[table["moment"].str.contains("no file|disk full")]
    full = full[full["ended_by"] != "exit code 0"]  # a disk that is full from the last calls on disturbs nothing
    assert len(full) >= 3
    sentence = r"error: (cannot (write|lock) OUT/\S+: [\w ]+; choose|expected \d+ MB of free disk .*; free disk) .*"
    assert all(re.fullmatch(sentence, said) for said in full["said"])


def test_the_check_finds_what_differs_and_what_is_left_over() -> None:
    bench = names_of("kill_bench.py")
    assert bench["different"]({"a": b"1", "b": b"2", "c": b"3"}, {"a": b"1", "b": b"9", "d": b"4"}) == ["b", "c"]
    assert bench["extra"](["a", "a", "b", "c"], ["a", "b", "b"]) == ["a", "c"]
    row = {"moment": "call 3", "ended_by": "SIGKILL", "said": "", "half": "", "exit_code": 0, "differs": ""}
    row |= {"left_over": "", "traceback": False}
    is_fault = bench["is_fault"]
    assert not is_fault(row)
    for change in ({"half": "a"}, {"exit_code": 2}, {"differs": "a"}, {"left_over": ".a.tmp"}, {"traceback": True}):
        assert is_fault(row | change)
    assert is_fault(row | {"ended_by": "exit code 2", "said": "error: a\nb"})
    assert is_fault({"moment": "control: --seed 1", "differs": ""})


def test_every_kind_of_call_is_killed_first() -> None:
    choose = names_of("kill_bench.py")["choose_calls"]
    seen = ["fsync a"] * 30 + ["replace a", "unlink b"]
    chosen = choose(seen, 4, random.Random(0))
    assert len(set(chosen)) == 4
    assert {seen[number - 1] for number in chosen} == set(seen)
    assert len(choose(seen, 99, random.Random(0))) == 32


def test_the_kept_record_has_kills_of_every_command_and_no_fault() -> None:
    table: Any = pd.read_csv(EXPERIMENTS / "results" / "kill-test.csv")
    assert set(table["command"][table["ended_by"] == "SIGKILL"]) == COMMANDS
    assert not table["fault"].any()
