"""How long `ens combine --all-methods` takes, next to the sum of its methods one after another.

Usage: python experiments/benchmarks/all_methods.py --out experiments/results/all-methods.csv [--images 690]

Eight members are imported with predictions of tiles of 64x128 pixels in four classes: the planted truth, smooth errors
that the members share, and smooth errors that one member makes. Four tiles are a group. `all` is the command with all
methods in a process; then every method is cross-fitted by a command. Each process takes the threads that it chooses;
`seconds` are those of the whole command, `cpu_seconds` those of the processor.
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
from measuring import conditions, positive, write_table
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ensemble.combining.registry import variants
from ensemble.config import DataSettings
from ensemble.importing.import_member import import_member

HEIGHT, WIDTH, CLASSES, MEMBERS = 64, 128, 4, 8


def smooth(random: np.random.Generator, images: int, reach: float) -> NDArray[np.float32]:
    """Return smooth normal fields (n, classes, h, w) of variance 1."""
    noise = random.normal(size=(images, CLASSES, HEIGHT, WIDTH)).astype(np.float32)
    field = gaussian_filter(noise, (0, 0, reach, reach))
    return field / field.std()


def prepare(images: int, work: Path) -> None:
    """Write the data and import the members."""
    random = np.random.default_rng(0)
    truth = smooth(random, images, 8.0) - 1.8 * (np.arange(CLASSES) == CLASSES - 1)[:, None, None]
    masks_nhw, shared = truth.argmax(1), smooth(random, images, 5.0)
    grey = (128 + 30 * truth[:, 0]).clip(0, 255)
    groups = [f"scene-{row // 4:03d}" for row in range(images)]
    labelled = np.stack([grey, masks_nhw + 1], axis=1).astype(np.uint8)
    np.savez(work / "data.npz", training_set=labelled, test_set=grey[:1].astype(np.uint8), training_groups=groups)
    is_true = masks_nhw[:, None] == np.arange(CLASSES)[:, None, None]
    for number in range(MEMBERS):
        quality = 0.8 + 0.15 * number
        logits = quality * (2 * is_true + truth) + 1.2 * shared + smooth(random, images, 3.0)
        np.savez(work / "predictions.npz", logits=logits.astype(np.float32), rows=np.arange(images))
        settings = DataSettings(source=str(work / "data.npz"), folds=5)
        import_member(work / "predictions.npz", name=f"net{number}", data=settings, runs=work / "runs")


def command_seconds(work: Path, *options: str) -> dict[str, float]:
    """Run `ens combine` and return its seconds."""
    command = [sys.executable, "-m", "ensemble", "combine", *options, "--runs", "runs", "--quiet"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}


def main() -> None:
    """Measure and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=positive, default=690)
    given = parser.parse_args()
    about = {"images": given.images, "members": MEMBERS, "classes": CLASSES, "height": HEIGHT, "width": WIDTH}
    about |= conditions() | {"threads": os.cpu_count()}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(given.images, work)
        single = {str(call): ("--method", str(call), "--no-picture") for call in variants()}
        for name, options in {"all": ("--all-methods",), **single}.items():
            rows.append({"method": name} | command_seconds(work, *options) | about)
            write_table(given.out, rows, ["method", "seconds", "cpu_seconds"])


if __name__ == "__main__":
    main()
