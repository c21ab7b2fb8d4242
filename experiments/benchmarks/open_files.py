"""Whether 200 members can be read by a process that may have 30 files open (POSIX only).

Usage: python experiments/benchmarks/open_files.py --out experiments/results/open-files.csv [--members 200] [--limit 30]
Predictions of a made-up classifier are imported as members. Then every command that reads all of them runs twice: as
usual, and with a limit of open files. Both must print the same. One row per command; exit code 1 if one differs.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from disturbance import Runner, Trouble
from kill_cases import make_data

from ensemble.config import DataSettings
from ensemble.core.files import write_bytes
from ensemble.data.opening import open_dataset
from ensemble.importing.import_member import import_member
from ensemble.inference.hardware import cpu_name

COMMANDS = (
    "results",
    "verify",
    "combine --method average",
    "combine --method vote",
    "combine --method greedy(bags=2)",
    "compare average vote",
    "explain average",
    "report",
    "track --to tensorboard",
)


def make_members(folder: Path, count: int) -> None:
    """Import predictions that are right more or less often, by member."""
    data, generator = make_data(folder), np.random.default_rng(0)
    dataset = open_dataset(DataSettings(source=str(data)))
    labels = dataset.labels(range(len(dataset.ids)))
    classes = len(dataset.classes)
    for number in range(count):
        logits = generator.normal(size=(len(labels), classes, *labels.shape[1:])).astype(np.float32)
        right = np.take_along_axis(logits, np.minimum(labels, classes - 1)[:, None].astype(np.intp), 1)
        np.put_along_axis(logits, np.minimum(labels, classes - 1)[:, None].astype(np.intp), right + number / count, 1)
        np.savez(folder / "logits.npz", logits=logits, ids=np.array(dataset.ids))
        import_member(folder / "logits.npz", name=f"made-up-{number:03d}", data=str(data), runs=folder / "runs")


def run(command: str, folder: Path, runner: Runner, limit: int | None) -> tuple[int, str]:
    """Run a command in a process and return its exit code and what it printed, without lines of progress."""
    name, *arguments = command.split()
    place = ["--runs", str(folder / "runs")]
    out = str(folder / f"{name}-{limit}")
    place += ["--out", out] if name in ("explain", "report", "track") else []
    code = runner.run([name, *arguments, *place], folder, Trouble(open_files=limit))
    said = runner.output.replace(out, "OUT").replace(str(folder), "FOLDER")
    return code, re.sub(r"^.*\d+/\d+.*\n", "", said, flags=re.MULTILINE)


def main() -> int:
    """Import, run every command twice, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--members", type=int, default=200)
    parser.add_argument("--limit", type=int, default=30)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as text:
        folder, runner = Path(text), Runner(Path(text))
        make_members(folder, arguments.members)
        for command in COMMANDS:
            code, limited = run(command, folder, runner, arguments.limit)
            usual_code, usual = run(command, folder, runner, None)
            row = {"command": command, "members": arguments.members, "open_files": arguments.limit, "exit_code": code}
            row |= {"usual_exit_code": usual_code, "same_output": limited == usual, "last_line": last_line(limited)}
            rows.append(row)
            print(row, flush=True)
    frame = pd.DataFrame(rows).assign(cpu=cpu_name())
    write_bytes(arguments.out, frame.to_csv(index=False, lineterminator="\n").encode())
    return int(any(row["exit_code"] != 0 or not row["same_output"] for row in rows))


def last_line(text: str) -> str:
    """Return the last line of an output."""
    return (text.strip().splitlines() or [""])[-1]


if __name__ == "__main__":
    sys.exit(main())
