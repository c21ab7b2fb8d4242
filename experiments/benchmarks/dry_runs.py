"""What the recipes that come along would take on some data, and whether that is true.

Usage: python experiments/benchmarks/dry_runs.py mars.npz --out experiments/results/dry-runs.csv --train seeds

Every recipe is planned and estimated as `ens study RECIPE --data DATA --dry-run` does it, with the members at a time
and the threads that `ens study` takes. A row per recipe: members, architectures with their options that were measured,
ensembles, `estimated_seconds` until all members are trained, the slowest member and its seconds, the most memory that
a member adds to its process, disk, and `dry_run_seconds`, what finding this out took. Recipes named with --train are
then trained into --runs (a temporary folder where left out; members that are there already would spoil the time, so it
has to be empty of them): `actual_seconds` from the first start to the table, ensembles included, and
`actual_to_estimated`.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measuring import conditions, write_table

from ensemble.core.errors import EnsError
from ensemble.core.files import check_folder
from ensemble.study import Recipe, read_recipe, run_study, shipped_recipes
from ensemble.study.estimate import estimate, total_seconds
from ensemble.study.local import LocalExecutor, default_jobs, threads_per_job
from ensemble.study.plan_study import plan_study, run_data_check

SHOWN = (
    *("recipe", "members", "measured", "ensembles", "jobs", "estimated_seconds", "slowest_seconds", "memory_mb_each"),
    *("disk_mb", "dry_run_seconds", "actual_seconds", "actual_to_estimated"),
)


def dry_run(recipe: Recipe, runs: Path, jobs: int) -> dict[str, Any]:
    """One recipe as ``ens study --dry-run`` estimates it."""
    start = time.perf_counter()
    planned = plan_study(run_data_check(recipe, runs), runs, threads_per_job(jobs))
    if done := [one.entry.label for one in planned if one.state != "new"]:
        raise EnsError(
            f"expected a folder without members of '{recipe.file.name}', got {done[0]}; choose another --runs"
        )
    frame = estimate(planned, jobs)
    seconds = [float(value) for value in frame["seconds"].tolist()]
    if any(map(math.isnan, seconds)):
        raise EnsError(f"'{recipe.file.name}' has members that cannot be measured: {frame['note'].max()}")
    slowest = frame["label"].tolist()[seconds.index(max(seconds))]
    return {
        "recipe": recipe.file.name,
        "members": len(frame),
        "measured": len({one.measured.model_dump_json() for one in planned}),
        "ensembles": len(recipe.file.ensembles),
        "jobs": jobs,
        "threads_each": threads_per_job(jobs) or torch.get_num_threads(),
        "estimated_seconds": round(total_seconds(seconds, jobs), 1),
        "slowest": slowest,
        "slowest_seconds": round(max(seconds)),
        "memory_mb_each": round(frame["memory_mb"].max()),
        "disk_mb": round(frame["disk_mb"].sum()),
        "dry_run_seconds": round(time.perf_counter() - start, 1),
    }


def trained(recipe: Recipe, runs: Path, jobs: int, estimated: float) -> dict[str, Any]:
    """The study itself, by the clock."""
    start = time.perf_counter()
    threads = threads_per_job(jobs)
    done = run_study(recipe, runs, executor=LocalExecutor(jobs, threads), threads=threads)
    seconds = time.perf_counter() - start
    if done.failed:
        raise EnsError(f"{done.failed[0].label} failed: {done.failed[0].error}")
    return {"actual_seconds": round(seconds, 1), "actual_to_estimated": round(seconds / estimated, 3)}


def main() -> None:
    """Estimate recipe by recipe, train those asked for, and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an npz file, a folder with images/ and masks/, or 'sample'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", action="append", help="repeatable; all that come along where left out")
    parser.add_argument("--train", action="append", default=[], help="repeatable: train this one of them too")
    parser.add_argument("--runs", type=Path, help="where they are trained")
    asked = parser.parse_args()
    common, jobs = conditions(("torch",)), default_jobs()
    del common["threads"]  # each row says its own
    rows: list[dict[str, Any]] = []
    wanted = asked.recipe or [*shipped_recipes()]
    if strange := set(asked.train) - set(wanted):
        parser.error(f"expected --train to name some of {', '.join(wanted)}, got {min(strange)}")
    try:
        check_folder(asked.out.absolute().parent)
        with tempfile.TemporaryDirectory() as folder:
            runs = asked.runs or Path(folder)
            chosen = {name: read_recipe(name, asked.data) for name in wanted}
            for name, recipe in chosen.items():
                rows.append(dry_run(recipe, runs, jobs) | common | {"data": Path(asked.data).name})
                sys.stdout.write(f"{name}: {rows[-1]['estimated_seconds']} s\n")
                sys.stdout.flush()
            for row, (name, recipe) in zip(rows, chosen.items(), strict=True):
                if name in asked.train:
                    row.update(trained(recipe, runs, jobs, row["estimated_seconds"]))
            write_table(asked.out, rows, [column for column in SHOWN if any(column in row for row in rows)])
    except EnsError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
