"""Where the time goes when a store is read: bytes of codes per second of every step, against plain zstd and memcpy.

Usage: python experiments/benchmarks/decoding.py RUNS --out experiments/results/decoding.csv
One row per member of RUNS, of a full chunk of its validation store, and one of all of them together. On one thread; a
figure is the median of --repeat rounds, in each of which every step is repeated for at least a hundredth of a second
and its fastest run counts. A code is one byte; a probability, four. The steps of reading follow one another: file
(in the operating system's cache), digest, zstd (its checksum included), differences to codes, codes to probabilities.
`store` is the whole way as users go it, `Store.batches`, beside the rate that the steps one after the other would give.
memcpy copies the codes, and `memcpy_float` the probabilities, to memory that is already there.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from measuring import conditions, write_table
from threadpoolctl import threadpool_limits

from ensemble.core.files import digest
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member
from ensemble.runs.store import Store, decode
from ensemble.runs.store.codec import unpack

STEPS = ("file", "digest", "zstd", "unpack", "decode", "store", "memcpy", "memcpy_float")
SHOWN = ("member", "bytes_per_value", *(f"{step}_megabytes_per_second" for step in STEPS), "store_by_its_steps")


def fastest(call: Callable[[], Any]) -> float:
    """Seconds of the fastest run within a hundredth of a second."""
    runs, end = list[float](), time.perf_counter() + 0.01
    while not runs or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        runs.append(time.perf_counter() - start)
    return min(runs)


def calls(store: Store) -> dict[str, Callable[[], Any]]:
    """Each step on the first chunk of a store."""
    file, rows = store.path / store.chunks[0].file, np.arange(store.chunks[0].images)
    classes, sizes = len(store.classes), [store.sizes[0]] * len(rows)
    content = file.read_bytes()
    codes = np.stack(unpack(content, classes, sizes, store.has_labels)[0])
    probs = decode(codes)
    other_codes, other_probs = codes.copy(), probs.copy()
    return {
        "file": file.read_bytes,
        "digest": lambda: digest(content),
        "zstd": lambda: zstandard.ZstdDecompressor().decompress(content),
        "unpack": lambda: unpack(content, classes, sizes, store.has_labels),
        "decode": lambda: decode(codes, out=probs),
        "store": lambda: [probs.size for _, probs, _ in store.batches(16, rows)],
        "memcpy": lambda: np.copyto(other_codes, codes),
        "memcpy_float": lambda: np.copyto(other_probs, probs),
    }


def measure(store: Store, repeat: int) -> dict[str, float]:
    """Seconds of every step for a megabyte of codes."""
    steps = calls(store)
    rounds = [[fastest(call) for call in steps.values()] for _ in range(repeat)]
    megabytes = store.chunks[0].images * len(store.classes) * math.prod(store.sizes[0]) / 1e6
    return dict(zip(steps, (np.median(rounds, axis=0) / megabytes).tolist(), strict=True))


def as_row(name: str, seconds: dict[str, float], bytes_per_value: float) -> dict[str, Any]:
    """Megabytes of codes per second; ``unpack`` contains zstd, so what it takes beyond that has a column too."""
    row: dict[str, Any] = {"member": name, "bytes_per_value": round(bytes_per_value, 4)}
    row |= {f"{step}_megabytes_per_second": round(1 / seconds[step]) for step in STEPS}
    way = seconds["file"] + seconds["digest"] + seconds["unpack"] + seconds["decode"]
    row["store_by_its_steps"] = round(1 / way)
    parts = {"zstd": seconds["zstd"], "differences": seconds["unpack"] - seconds["zstd"]}
    parts |= {step: seconds[step] for step in ("file", "digest", "decode")}
    return row | {f"{step}_share": round(part / way, 3) for step, part in parts.items()}


def main() -> None:
    """Measure every member and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder whose members' stores are read")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=5)
    plan = parser.parse_args()
    common = conditions(("numpy", "zstandard", "opencv-python-headless")) | {"repetitions": plan.repeat}
    stores = {path.name: Member.open(path).store() for path in sorted(find_members(plan.runs))}
    with threadpool_limits(1):
        seconds = {name: measure(store, plan.repeat) for name, store in stores.items()}
    rows = [as_row(name, seconds[name], store.bytes_per_value) for name, store in stores.items()]
    mean = {step: float(np.mean([each[step] for each in seconds.values()])) for step in STEPS}
    rows.append(as_row("all", mean, float(np.mean([store.bytes_per_value for store in stores.values()]))))
    write_table(plan.out, [row | common for row in rows], SHOWN)


if __name__ == "__main__":
    main()
