"""Measure how long the results table of many runs takes, with the files in the system's cache and without.

Usage: python experiments/benchmarks/results_table.py MEMBER --runs 1000 --out experiments/results/results-table.csv
MEMBER is a finished member. Its settings, status and scores are written N times under other seeds and scores into a
temporary folder, with an ensemble of five for every hundred members. Weights, probabilities and confusion matrices are
not written, because the table does not read them. The CSV has a row per situation with the median of the repeats. On a
shared machine the processor's seconds say more than the clock's. For "read, cold" the files are dropped from the
system's cache first (Linux only; the cache of the disk itself stays).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ensemble import results
from ensemble.config import PoolSettings
from ensemble.core.files import digest, read_json, sealed, write_bytes
from ensemble.inference.hardware import cpu_name


def write_run(path: Path, config: dict[str, Any], scores: dict[str, Any], status: dict[str, Any]) -> None:
    """Write the files that the table reads, with the digests that belong to them."""
    texts = {
        "config.json": json.dumps(config | {"name": path.name}, indent=2),
        "scores.json": json.dumps(scores, indent=2),
    }
    digests = {name: digest_of(text) for name, text in texts.items()}
    texts["status.json"] = json.dumps(sealed(status | {"files": digests}), indent=2)
    path.mkdir(parents=True)
    for name, text in texts.items():
        (path / name).write_text(text, encoding="utf-8")


def digest_of(text: str) -> str:
    """Return the digest of a file's content, as `ensemble.core.files.file_digest` does."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def build(member: Path, root: Path, runs: int) -> None:
    """Write ``runs`` runs, of which one in a hundred is an ensemble."""
    config, scores, status = (read_json(member / f"{name}.json") for name in ("config", "scores", "status"))
    noise = np.random.default_rng(0)
    names: list[str] = []
    facts, version = config["data"], status["format_version"]
    for number in range(runs):
        own = scores | {"miou": scores["miou"] + float(noise.normal(0, 0.02))}
        if number % 100 == 99:
            pool = PoolSettings(
                members=tuple(names[-5:]),
                method="average",
                data_hash=facts["data_hash"],
                split_hash=facts["split_hash"],
                seed=number,
            )
            made = {"format_version": version, "kind": "ensemble", "settings": pool.model_dump(mode="json")}
            write_run(root / "ensembles" / pool.directory_name(), made, own, status | {"kind": "ensemble"})
        else:
            settings = config["settings"] | {"seed": number}
            names.append(f"unet-ce-s{number}-{digest(str(number))[:6]}")
            write_run(root / "members" / names[-1], config | {"settings": settings}, own, status)


def evict(root: Path) -> None:
    """Drop all files of a folder from the system's cache."""
    os.sync()
    for file in root.rglob("*.json"):
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def times_of(work: Callable[[], object], before: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return the median time of ``work``, by the clock and of the processor; ``before`` runs first and is not timed."""
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        before()
        start, used = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - start, time.process_time() - used))
    wall, cpu = (round(statistics.median(part), 2) for part in zip(*times, strict=True))
    return {"seconds": wall, "cpu_seconds": cpu}


def main() -> None:
    """Build the folder, measure each situation and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("member", type=Path)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("error", results.DamagedRun)  # a run that is left out would not be measured
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build(arguments.member, root, arguments.runs)
        situations: dict[str, Callable[[], object]] = {"read": lambda: None, "read, cold": lambda: evict(root)}
        rows: list[dict[str, object]] = []
        for situation, before in situations.items():
            times = times_of(lambda: results.load(root), before, arguments.repeats)
            rows.append({"runs": arguments.runs, "situation": situation, **times})
        frame = results.load(root)
        for name, work in {
            "where": lambda: results.where(frame, "miou > 0.5 and seed in (1, 2, 3)"),
            "by architecture and loss": lambda: results.by(frame, ["arch", "loss"]),
            "pareto": lambda: results.pareto(frame),
        }.items():
            times = times_of(work, lambda: None, arguments.repeats)
            rows.append({"runs": arguments.runs, "situation": name, **times})
    conditions = {"load_average": round(os.getloadavg()[0], 1), "cores": os.cpu_count(), "cpu": cpu_name()}
    table = pd.DataFrame(rows).assign(columns=len(frame.columns), repeats=arguments.repeats, **conditions)
    write_bytes(arguments.out, table.to_csv(index=False, lineterminator="\n").encode())
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
