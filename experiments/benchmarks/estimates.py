"""What `ens train --dry-run` expects against what training takes: memory and time, by network, image size and batch.

Usage: python experiments/benchmarks/estimates.py --out experiments/results/estimates.csv [--quick | --slow]

For each case, images are drawn and written to an npz; `--dry-run` estimates in one process, and a new one trains a
short member with the same settings. `expected_megabytes` and `peak_megabytes` are of the whole process (the peak is the
kernel's own figure), `expected_seconds` and `seconds` are those of training and predicting, and the ratios are expected
to measured. Cases are repeated with --rounds; a row is one round. --quick takes the ends of the range only; --slow adds
the cases with steps of more than two million pixels of the slower networks, which take minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import conditions, positive, run_program, write_table

from ensemble.inference.hardware import choose_hardware

NETWORKS = ("unet", "pspnet", "linknet")
SIZES, BATCHES = (256, 512), (4, 8, 16, 32)
IMAGES = 48  # of an npz; 10 of them are predicted
SHOWN_PIXELS = 64 * 256 * 256  # of a run: so many that its steps take most of the time
LARGE = 1 << 21  # pixels of a step; more take minutes
REAL = """
import tempfile
from dataclasses import replace
from ensemble.training.train import plan_training, train_member
arguments = json.loads(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    plan = replace(plan_training(arguments | {"out": folder}), measured=True)
    start = time.perf_counter()
    member = train_member(plan)
    seconds = time.perf_counter() - start
    history = (member.path / "history.csv").read_text().splitlines()
columns = history[0].split(",")
trained = sum(float(line.split(",")[columns.index("seconds")]) for line in history[1:])
print(json.dumps({"peak_megabytes": peak_megabytes(), "seconds": seconds, "training_seconds": trained}))
"""


@dataclass(frozen=True)
class Case:
    """A network, the side of the images and the images of a step."""

    network: str
    size: int
    batch: int

    @property
    def pixels(self) -> int:
        """Pixels of a step."""
        return self.batch * self.size**2

    @property
    def steps(self) -> int:
        """Steps of the short run."""
        return max(2, SHOWN_PIXELS // self.pixels)

    def arguments(self, data: Path) -> dict[str, Any]:
        """The arguments of `ensemble.train`."""
        return {"data": str(data), "arch": self.network, "batch_size": self.batch, "steps": self.steps}


def draw(folder: Path, size: int) -> Path:
    """Squares of four classes and void, with noise: a new file."""
    generator = np.random.default_rng(size)
    masks_nhw = np.kron(generator.integers(0, 5, (IMAGES, size // 32, size // 32)), np.ones((32, 32)))
    images_nhw = masks_nhw * 40 + generator.integers(0, 40, masks_nhw.shape)
    path = folder / f"{size}.npz"
    np.savez(
        path, training_set=np.stack([images_nhw, masks_nhw], 1).astype(np.uint8), test_set=np.zeros((0, size, size))
    )
    return path


def expected(case: Case, data: Path, folder: Path) -> dict[str, Any]:
    """The estimate, from the command itself."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in case.arguments(data).items() if name != "data"]
    command = [sys.executable, "-m", "ensemble", "train", str(data), "--out", str(folder / "runs"), *options]
    done = subprocess.run([*command, "--dry-run", "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(case: Case, data: Path, folder: Path) -> dict[str, Any]:
    """One row: the estimate and the run."""
    estimate = expected(case, data, folder)
    found = run_program(REAL, json.dumps(case.arguments(data)), threads=None)
    steps = estimate["epochs"] * estimate["steps"]
    sides = (
        ("megabytes", estimate["memory"] / 2**20, found["peak_megabytes"], 0),
        ("seconds", estimate["seconds"], found["seconds"], 1),
        ("step_seconds", estimate["step_seconds"], found["training_seconds"] / steps, 3),
    )
    row: dict[str, Any] = {"network": case.network, "size": case.size, "batch_size": case.batch, "steps": steps}
    for name, guess, truth, digits in sides:
        measured = "peak_megabytes" if name == "megabytes" else name
        row |= {f"expected_{name}": round(guess, digits), measured: round(truth, digits)}
        row[f"{name}_ratio"] = round(guess / truth, 3)
    return row


def cases(*, quick: bool, slow: bool) -> Iterator[Case]:
    """The cases in the order of the table."""
    for network in NETWORKS:
        for size in SIZES:
            for batch in BATCHES[:: len(BATCHES) - 1] if quick else BATCHES:
                case = Case(network, size, batch)
                if slow or network == "pspnet" or case.pixels <= LARGE:
                    yield case


def main() -> None:
    """Estimate and train case by case, and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=positive, default=1)
    parser.add_argument("--quick", action="store_true", help="batches of 4 and 32 only")
    parser.add_argument("--slow", action="store_true", help="also what takes minutes")
    asked = parser.parse_args()
    hardware = choose_hardware()
    more = conditions(("torch",)) | {"threads": hardware.threads, "precision": hardware.precision}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        files = {size: draw(Path(name), size) for size in SIZES}
        for round_ in range(1, asked.rounds + 1):
            for case in cases(quick=asked.quick, slow=asked.slow):
                rows.append({"round": round_} | measure(case, files[case.size], Path(name)) | more)
                sys.stdout.write(" ".join(f"{key}={value}" for key, value in list(rows[-1].items())[:14]) + "\n")
                sys.stdout.flush()
    write_table(asked.out, rows, [column for column in rows[0] if column not in more])


if __name__ == "__main__":
    main()
