"""How long the results table of many runs takes: without an index, with it, and after one run was added.

Usage: python experiments/benchmarks/results_table.py MEMBER --runs 10000 --out experiments/results/results-table.csv
MEMBER is a finished member; its settings, status and scores are written N times under other seeds and scores into a
temporary folder (files of the table only: weights, probabilities and confusion matrices are not read for it), with an
ensemble of five for every hundred. One row per situation, the median of the repeats; on a machine that is shared the
processor's seconds say more than the clock's. The files are in the system's cache, since they have just been written;
reading ten thousand directories from a cold disk takes longer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ensemble import results
from ensemble.config import PoolSettings
from ensemble.core.files import digest, read_json, write_bytes
from ensemble.inference.hardware import cpu_name
from ensemble.results.index import FILE, SETTLED_NS
from ensemble.runs.layout import FORMAT_VERSION


def write_run(path: Path, config: dict[str, Any], scores: dict[str, Any], status: dict[str, Any]) -> None:
    """The files that the table reads, with the digests that belong to them; plain writes, as they are many."""
    texts = {"config.json": json.dumps(config, indent=2), "scores.json": json.dumps(scores, indent=2)}
    digests = {name: digest_of(text) for name, text in texts.items()}
    texts["status.json"] = json.dumps(status | {"files": digests}, indent=2)
    path.mkdir(parents=True)
    for name, text in texts.items():
        (path / name).write_text(text, encoding="utf-8")


def digest_of(text: str) -> str:
    """Digest of a file's content, as `ensemble.core.files.file_digest` finds it."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def build(member: Path, root: Path, runs: int) -> None:
    """Write ``runs`` runs, of which one in a hundred is an ensemble."""
    config, scores, status = (read_json(member / f"{name}.json") for name in ("config", "scores", "status"))
    noise = np.random.default_rng(0)
    names: list[str] = []
    facts = config["data"]
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
            made = {"format_version": FORMAT_VERSION, "kind": "ensemble", "settings": pool.model_dump(mode="json")}
            write_run(root / "ensembles" / pool.directory_name(), made, own, status | {"kind": "ensemble"})
        else:
            settings = config["settings"] | {"seed": number}
            names.append(f"unet-ce-s{number}-{digest(str(number))[:6]}")
            write_run(root / "members" / names[-1], config | {"settings": settings}, own, status)


def times_of(work: Callable[[], object], before: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median time of ``work``, each time after ``before``: by the clock, and of the processor."""
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
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build(arguments.member, root, arguments.runs)
        time.sleep(SETTLED_NS / 1e9)  # younger files are not kept in the index
        status = next((root / "members").iterdir()) / "status.json"
        situations: dict[str, Callable[[], object]] = {
            "no index": lambda: (root / FILE).unlink(missing_ok=True),
            "index": lambda: None,
            "index, one run changed": lambda: status.write_text(status.read_text() + " "),
        }
        rows: list[dict[str, object]] = []
        for situation, before in situations.items():
            times = times_of(lambda: results.load(root), before, arguments.repeats)
            size = round((root / FILE).stat().st_size / 1e6, 1)
            rows.append({"runs": arguments.runs, "situation": situation, **times, "index_megabytes": size})
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
