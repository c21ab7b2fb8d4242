"""How long `ens data next` takes to rank ten thousand images from the stores of its members.

Usage: python experiments/benchmarks/label_next.py --out experiments/results/label-next.csv
Images of 64 x 128 pixels and four classes, drawn from noise in blocks, are test images of a data set; three members are
imported with predictions of them, which differ in a third of the blocks. The command is run in a process of its own,
with an empty cache, on one thread. Seconds are those of the whole command: the start of Python, opening the data,
near-duplicates by perceptual hash, the stored probabilities, the table and the contact sheet; `cpu_seconds` say more
where other work runs beside.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import conditions, write_table
from numpy.typing import NDArray

from ensemble.importing.import_member import import_member

HEIGHT, WIDTH, CLASSES, BLOCK, LABELLED, MEMBERS = 64, 128, 4, 16, 40, 3


def blocks(random: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return normal numbers (..., HEIGHT, WIDTH) that are constant in blocks."""
    coarse = random.normal(size=(*shape, HEIGHT // BLOCK, WIDTH // BLOCK)).astype(np.float32)
    return coarse.repeat(BLOCK, axis=-2).repeat(BLOCK, axis=-1)


def predictions(images: int, seed: int, file: Path) -> Path:
    """Write probabilities (n, classes, h, w); two thirds of the blocks are those of every seed."""
    found = np.lib.format.open_memmap(file, "w+", np.float32, (images, CLASSES, HEIGHT, WIDTH))
    for start in range(0, images, 500):
        count = min(500, images - start)
        common, own = (np.random.default_rng([start, one]) for one in (0, seed + 1))
        logits = 3 * np.where(
            blocks(common, count, 1) > -0.43, blocks(common, count, CLASSES), blocks(own, count, CLASSES)
        )
        weights = np.exp(logits - logits.max(1, keepdims=True))
        found[start : start + count] = weights / weights.sum(1, keepdims=True)
    found.flush()
    return file


def prepare(images: int, work: Path) -> None:
    """Write the data and import the members."""
    random = np.random.default_rng(0)
    grey = (128 + 40 * blocks(random, LABELLED + images)).clip(0, 255).astype(np.uint8)
    masks = 1 + random.integers(0, CLASSES, (LABELLED, HEIGHT // BLOCK, WIDTH // BLOCK), np.uint8)
    masks = masks.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2)
    labelled = np.stack([grey[:LABELLED], masks], axis=1)
    np.savez(work / "data.npz", training_set=labelled, test_set=grey[LABELLED:], training_groups=np.arange(LABELLED))
    validation, test = work / "validation.npy", work / "test.npy"
    tables = {"ids": (work / "ids.csv", LABELLED), "test_ids": (work / "test_ids.csv", images)}
    for file, count in tables.values():
        pd.DataFrame({"row": range(count)}).to_csv(file, index=False)
    options: dict[str, Any] = {"data": work / "data.npz", "runs": work / "runs", "test": test}
    options |= {name: file for name, (file, _) in tables.items()}
    for seed in range(MEMBERS):
        predictions(LABELLED, seed, validation)
        predictions(images, seed, test)
        import_member(validation, name=f"member-{seed}", **options)
    test.unlink()


def measure(images: int, work: Path) -> dict[str, Any]:
    """Return the seconds of the command, and what it read and chose."""
    prepare(images, work)
    command = [sys.executable, "-m", "ensemble", "data", "next", "data.npz", "--n", "20", "--out", "next", "--quiet"]
    environment = os.environ | {"XDG_CACHE_HOME": str(work / "cache"), "OMP_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=work, check=True, env=environment)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = sum(file.stat().st_size for file in (work / "runs").rglob("test/*"))
    row = {"images": images, "members": MEMBERS, "classes": CLASSES, "height": HEIGHT, "width": WIDTH}
    row |= {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "store_megabytes": round(size / 1e6, 1)}
    return row | {"chosen": len(pd.read_csv(work / "next" / "next.csv"))} | conditions()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--images", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = measure(given.images, Path(folder))
    write_table(given.out, [row], ["images", "members", "seconds", "cpu_seconds", "store_megabytes", "chosen"])
