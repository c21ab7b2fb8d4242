"""Measure whether members trained at the same time finish sooner than one after another, as by `ens study --jobs`.

Usage: python experiments/benchmarks/jobs.py mars.npz --out experiments/results/jobs.csv

For each architecture K members that differ in their seeds are trained with each number of jobs in turn, every time in
a new folder; N jobs at a time have the threads of the machine divided by N. A row per architecture and number of jobs,
over the rounds: `seconds` by the clock from the first start to the last end, with start-up, validation and files;
`times_faster` than the first number of jobs in the same round; `times_faster_in_training` the same from the median of
the members' own seconds of training, times the number of jobs: what it tends to where training is long.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import conditions, positive, spread, write_table

from ensemble.core.errors import EnsError
from ensemble.core.files import check_folder
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member
from ensemble.study.jobs import Job
from ensemble.study.local import LocalExecutor, threads_per_job
from ensemble.training.train import plan_training

SHOWN = (
    *("architecture", "jobs", "threads_each", "seconds", "times_faster", "times_faster_min", "times_faster_max"),
    *("training_seconds_each", "times_faster_in_training"),
)


def jobs_of(arch: str, members: int, arguments: Mapping[str, Any], at_once: int) -> list[Job]:
    """Return members that differ in their seeds, planned for their share of the threads."""
    each = [{**arguments, "arch": arch, "seed": seed} for seed in range(members)]
    plans = [plan_training(one, threads=threads_per_job(at_once)) for one in each]
    return [Job(f"{arch} {one['seed']}", plan.path.name, one) for one, plan in zip(each, plans, strict=True)]


def train_all(jobs: Sequence[Job], at_once: int) -> dict[str, float]:
    """Train the jobs in a new folder; return the total seconds, and the median of their own seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        placed = [Job(job.label, job.name, {**job.arguments, "out": folder}) for job in jobs]
        start = time.perf_counter()
        executor = LocalExecutor(at_once, threads_per_job(at_once))
        outcomes = executor.run(placed, lambda *_: None, lambda _: None)
        seconds = time.perf_counter() - start
        failed = next((outcome for outcome in outcomes if outcome.state != "trained"), None)
        if failed is not None:
            raise EnsError(f"{failed.label} {failed.state}: {failed.error or 'no message'}")
        found = [Member.open(path).status["training_seconds"] for path in find_members(Path(folder))]
    if len(found) != len(jobs):
        raise EnsError(f"expected {len(jobs)} trained members, got {len(found)}; their settings must differ")
    return {"seconds": seconds, "training_seconds": statistics.median(found)}


def rows_of(arch: str, rounds: Sequence[Mapping[int, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Return a row per number of jobs; each round maps the number to the result of ``train_all``."""
    base = next(iter(rounds[0]))
    rows: list[dict[str, Any]] = []
    for at_once in rounds[0]:
        row = {"architecture": arch, "jobs": at_once, "rounds": len(rounds)}
        row |= spread((one[at_once]["seconds"] for one in rounds), "seconds", 1)
        row |= spread((one[base]["seconds"] / one[at_once]["seconds"] for one in rounds), "times_faster", 3)
        own = [(one[base]["training_seconds"], one[at_once]["training_seconds"]) for one in rounds]
        row["training_seconds_each"] = round(statistics.median(mine for _, mine in own), 1)
        gains = (at_once / base * first / mine for first, mine in own)
        rows.append(row | spread(gains, "times_faster_in_training", 3))
    return rows


def main() -> None:
    """Train everything round by round and write the CSV after every architecture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an npz file, a folder with images/ and masks/, or 'sample'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", action="append", help="repeatable; pspnet and unet-baseline where left out")
    parser.add_argument(
        "--jobs", type=positive, nargs="+", default=[1, 2], help="numbers of jobs; the first is the base"
    )
    parser.add_argument("--members", type=positive, default=4)
    parser.add_argument("--epochs", type=positive, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=positive, default=3)
    plan = parser.parse_args()
    common = conditions(("torch",))
    del common["threads"]  # each row has its own number
    shared = {
        "data": plan.data,
        "loss": "ce",
        "augment": "flips",
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "device": "cpu",
    }
    rows: list[dict[str, Any]] = []
    try:
        check_folder(plan.out.absolute().parent)
        for arch in plan.arch or ["pspnet", "unet-baseline"]:
            jobs = {at_once: jobs_of(arch, plan.members, shared, at_once) for at_once in plan.jobs}
            rounds: list[dict[int, dict[str, float]]] = []
            for _ in range(plan.rounds):
                rounds.append({})
                for at_once in plan.jobs:
                    rounds[-1][at_once] = found = train_all(jobs[at_once], at_once)
                    sys.stdout.write(f"{arch}, {at_once} at a time: {found['seconds']:.1f} s\n")
                    sys.stdout.flush()
            size = {key: shared[key] for key in ("epochs", "batch_size")} | {"members": plan.members}
            for row in rows_of(arch, rounds):
                threads = {"threads_each": threads_per_job(row["jobs"]) or torch.get_num_threads()}
                rows.append(row | size | common | threads | {"data": Path(plan.data).name})
            write_table(plan.out, rows, SHOWN)
    except EnsError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
