"""Whether a command loses anything when it is killed or the disk fills up (POSIX only, for it forks).

Usage: python experiments/benchmarks/kill_test.py --out experiments/results/kill-test.csv [--kills 20] [--seed 0]
    [--command NAME]... [--add]
Every command is run once without interruption, and its synchronisations, renamings and removals of files are counted
(for MLflow also its statements that write to the data base). Then it is run again and again in a new folder and killed
with SIGKILL once: at one of these calls (at a synchronisation the new part of the file is cut to its half first, for
until then the system promises nothing about it), or at a random time; of a study also the process that trains. Then the
same command follows. What the killed one left must be whole or absent, the results at the end must be those of the
uninterrupted run, and no other file may be left. Training writes a checkpoint after every step, so that most kills fall
into an epoch. Two rows per command are controls: the same command again (equal), and one with other settings (not
equal). Then the disk fills up: files may not grow beyond a size, and, where root can mount a tmpfs, it is filled at
some calls; the command must end with one sentence, leave nothing half-made, and go on when there is room again. One
row per run; exit code 1 if a run lost something.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before torch: forks of a
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # process with threads are not safe

import argparse
import importlib
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from disturbance import Runner
from kill_bench import Bench, is_fault
from kill_cases import NETWORK, SETTINGS, all_cases, make_data

from ensemble.core.files import write_bytes
from ensemble.inference.hardware import cpu_name
from ensemble.training import progress_state

NO_DISK = ("study",)  # its members are trained in other processes, which the full disk of the training covers


def make_world(folder: Path, runner: Runner) -> None:
    """Make the data, and two members and an ensemble for the commands that only read."""
    data, runs = str(make_data(folder)), str(folder / "runs")
    for loss in ("ce", "dice"):
        command = ["train", data, "--arch", NETWORK, "--loss", loss, *SETTINGS.split(), "--epochs", "2"]
        if runner.run([*command, "--out", runs], folder):
            sys.exit(runner.output)
    if runner.run(["combine", "--method", "average", "--runs", runs], folder):
        sys.exit(runner.output)


def main() -> int:
    """Kill, compare, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", help="replace only the rows of this command; repeatable")
    parser.add_argument("--add", action="store_true", help="keep the rows of the command, and add others")
    arguments = parser.parse_args()
    progress_state.MOST_SECONDS = 0.0
    rows: list[dict[str, Any]] = []
    if arguments.command and arguments.out.exists():  # the rows of the other commands stay
        kept: Any = pd.read_csv(arguments.out, keep_default_na=False)
        kept = kept if arguments.add else kept[~kept["command"].isin(arguments.command)]
        rows = kept.to_dict("records")
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "notes").mkdir()
        runner = Runner(folder / "notes")
        for library in ("ensemble.training.train", "ensemble.combining.combine", "torch._dynamo"):
            importlib.import_module(library)
        make_world(folder, runner)
        for number, (name, case) in enumerate(all_cases(folder).items()):
            if name not in (arguments.command or [name]):
                continue
            bench, generator = Bench(case, runner, folder / f"case{number}"), random.Random(arguments.seed)
            found = [bench.controls(), bench.kills(arguments.kills, generator)]
            found += [] if name in NO_DISK else [bench.full_disks(generator)]
            for row in (row for part in found for row in part):
                rows.append({**row, "fault": is_fault(row)})
                print("FAULT" if rows[-1]["fault"] else "ok", row, flush=True)
                frame = pd.DataFrame(rows).convert_dtypes().assign(torch=torch.__version__, cpu=cpu_name())
                write_bytes(arguments.out, frame.to_csv(index=False, lineterminator="\n").encode())
    faults = sum(row["fault"] for row in rows)
    print(f"{len(rows)} runs, {faults} of them lost or left something")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
