"""How much of `ens train` is training: a whole command next to its own steps, and its first step.

Usage: python experiments/benchmarks/whole_training.py mars.npz --out experiments/results/whole-training.csv

`ens train` runs in a process of its own, with its measurement beforehand, its evaluations, checkpoints, stored
probabilities and scores. `images_per_second` counts the images of all steps over the seconds of the whole command,
`steps_images_per_second` over those of the steps alone, from the member's history; `share` is their ratio.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from measuring import conditions, positive, write_table

from ensemble.runs.folder import find_members
from ensemble.runs.layout import HISTORY

MAIN = "from ensemble.cli import main; main()"


def row_of(data: str, arch: str, steps: int) -> dict[str, Any]:
    """Train a member and return its speeds."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-c", MAIN, "train", data, "--arch", arch]
        command += ["--steps", str(steps), "--runs", runs]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        history = pd.read_csv(find_members(Path(runs))[0] / HISTORY)
    seconds_e, speed_e = (history[column].to_numpy(float) for column in ("seconds", "images_per_second"))
    in_steps, images = float(seconds_e.sum()), float(seconds_e @ speed_e)
    return {
        "architecture": arch,
        "steps": steps,
        "seconds": round(seconds, 1),
        "seconds_in_steps": round(in_steps, 1),
        "images_per_second": round(images / seconds, 1),
        "steps_images_per_second": round(images / in_steps, 1),
        "share": round(in_steps / seconds, 3),
    }


def main() -> None:
    """Train one member of each architecture and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an npz file, a folder with images/ and masks/, or 'sample'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", action="append", help="repeatable; unet where left out")
    parser.add_argument("--steps", type=positive, default=1500, help="about five minutes")
    plan = parser.parse_args()
    common = conditions(("torch",)) | {"threads": 2}
    rows = [row_of(plan.data, arch, plan.steps) | common for arch in plan.arch or ["unet"]]
    write_table(plan.out, rows, ("architecture", "steps", "seconds", "seconds_in_steps", "share"))


if __name__ == "__main__":
    main()
