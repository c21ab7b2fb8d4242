"""What the benchmarks share: programs measured in processes of their own, the conditions of a run, and the CSV."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from ensemble.core.files import write_bytes
from ensemble.inference.hardware import cpu_name

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# The kernel's own figure; that of getrusage begins at what the parent held when it started the program.
PRELUDE = """
import json, sys, time
def peak_megabytes():
    with open("/proc/self/status") as lines:
        return next(round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("VmHWM"))
"""


def run_program(
    program: str, *arguments: object, python: str | Path = sys.executable, threads: int | None = 1
) -> dict[str, Any]:
    """Run a program in a process of its own, on so many threads or, where None, on those it takes by itself; its last
    line is JSON, which is returned.
    """
    command = [str(python), "-c", PRELUDE + program, *map(str, arguments)]
    limits = {} if threads is None else dict.fromkeys(THREADS, str(threads))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | limits)
    return json.loads(done.stdout.splitlines()[-1])


def conditions(packages: Iterable[str] = ("numpy", "scipy", "zstandard")) -> dict[str, Any]:
    """Where and when: what every row of a table repeats."""
    return {
        "cpu": cpu_name(),
        "threads": 1,
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": " ".join(f"{name}-{version(name)}" for name in packages),
        "date": datetime.now(UTC).date().isoformat(),
    }


def spread(values: Iterable[float], name: str, digits: int) -> dict[str, float]:
    """Median, least and most as three columns."""
    chosen = sorted(values)
    parts = {name: statistics.median(chosen), f"{name}_min": chosen[0], f"{name}_max": chosen[-1]}
    return {key: round(value, digits) for key, value in parts.items()}


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


def write_table(out: Path, rows: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> None:
    """Write all columns as CSV and print some of them."""
    frame = pd.DataFrame(rows)
    write_bytes(out, frame.to_csv(index=False, lineterminator="\n").encode())
    print(frame[list(shown)].to_string(index=False))
