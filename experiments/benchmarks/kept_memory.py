"""Predicting with and without free memory being kept for the next maps: seconds, and the peak of the memory.

Usage: python experiments/benchmarks/kept_memory.py --out experiments/results/kept-memory.csv

A `unet` with random weights predicts random grey images, as all commands do. `tiles` are 512 images of 64x128, `photos`
12 images of each of seven sizes, one size after another, `mixed` 60 images of 200 to 900 pixels a side, each of another
size. Every run is a process of its own, which predicts the images three times; `seconds` are the median. `kept` and
`usual` take turns; `times_as_fast` is the median of their ratios, round by round, and `megabytes` is by how much
predicting raises the memory of the process at its peak.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from measuring import conditions, positive, run_program, write_table

CHILD = """
import numpy as np
from ensemble.config import Component, DataFacts, DataSettings, MemberSettings
from ensemble.inference import allocator
from ensemble.inference.hardware import choose_hardware
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.network import build_network
from ensemble.inference.pooled_networks import PooledNetworks

kind, way = sys.argv[1:]
if way == "usual":
    allocator._KEEP = allocator._USUAL
random = np.random.default_rng(0)
photos = ((256, 256), (256, 320), (520, 696), (360, 360), (1024, 1024), (512, 640), (260, 347))
sizes = {
    "tiles": [(64, 128)] * 512,
    "photos": [size for size in photos for _ in range(12)],
    "mixed": [tuple(map(int, random.integers(200, 900, 2))) for _ in range(60)],
}[kind]
classes = ("soil", "bedrock", "sand", "big rock")
facts = DataFacts(name="x", data_hash="0", split_hash="0", background="void", classes=classes, values=(1, 2, 3, 4),
                  keras_ignored=None, bands=1, height=64, width=128)
chosen = choose_hardware("cpu", "auto")
settings = MemberSettings(data=DataSettings(source="x"), architecture=Component(name="unet"), loss=Component(name="ce"),
                          epochs=1, seed=0, precision=chosen.precision)
member = MemberNetwork((build_network(settings, facts).eval(),), settings, facts, "cpu", all_outputs=True)
networks = PooledNetworks.of_one(member)

def images(numbers):
    return random.integers(0, 256, (len(numbers), *sizes[numbers.start], 1), dtype=np.uint8)

before, times = peak_megabytes(), []
for _ in range(3):
    start = time.perf_counter()
    for piece in networks.pieces(sizes, images):
        pass
    times.append(time.perf_counter() - start)
print(json.dumps({"seconds": sorted(times)[1], "megabytes": peak_megabytes() - before, "images": len(sizes),
                  "precision": chosen.precision, "threads": chosen.threads}))
"""
KINDS, WAYS = ("tiles", "photos", "mixed"), ("kept", "usual")


def main() -> None:
    """Let both ways take turns on each kind of images, and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=positive, default=3)
    plan = parser.parse_args()
    common, rows = conditions(("torch",)), list[dict[str, Any]]()
    for kind in KINDS:
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(plan.rounds):
            for way in WAYS:
                found[way].append(run_program(CHILD, kind, way, threads=None))
        kept, usual = ([run["seconds"] for run in found[way]] for way in WAYS)
        times = statistics.median(slow / fast for slow, fast in zip(usual, kept, strict=True))
        for way, runs in found.items():
            seconds, megabytes = (statistics.median(run[key] for run in runs) for key in ("seconds", "megabytes"))
            row = {"images": kind, "memory": way, "seconds": round(seconds, 2)}
            row |= {"times_as_fast": round(times, 2) if way == "kept" else 1.0, "megabytes": round(megabytes)}
            same = {"number": runs[0]["images"], "precision": runs[0]["precision"], "rounds": plan.rounds}
            rows.append(row | same | common | {"threads": runs[0]["threads"]})
        sys.stdout.write(f"{kind}: {times:.2f} times as fast\n")
        sys.stdout.flush()
    write_table(plan.out, rows, ("images", "memory", "seconds", "times_as_fast", "megabytes"))


if __name__ == "__main__":
    main()
