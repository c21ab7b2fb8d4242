"""What `ens train` expects against what it takes: memory and time, by network, side of the crops, and batch.

Usage: python experiments/benchmarks/estimates.py --out experiments/results/estimates.csv [--quick | --slow]

For each case, images twice as high and wide as the crops are drawn and written to an npz. A process measures, as
`ens train` does before it trains, and then trains: steps for about 15 seconds, four at least (another process has
measured how many). `expected_megabytes` and `peak_megabytes` are of the whole process (the peak is the kernel's own
figure); `expected_seconds` and `seconds` are those of training and predicting; the ratios are expected to measured.
Cases are repeated with --rounds; a row is one round. --quick takes the ends of the range only; --slow adds the cases
with steps of more than two million pixels of the slower networks, which take minutes.
"""

from __future__ import annotations

import argparse
import json
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
IMAGES = 16  # of an npz, four times as large as a crop; 3 of them are predicted
LARGE = 1 << 21  # pixels of a step; more take minutes
SECONDS = 15  # of training
FEW = 3  # steps of a run that ends after the estimate, to choose the number of steps
PROGRAM = (
    f"FEW = {FEW}"
    + """
import tempfile
from dataclasses import replace
from ensemble.training.budget import estimate_training
from ensemble.training.train import plan_training, train_member
arguments = json.loads(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    plan = plan_training(arguments | {"out": folder})
    expected = estimate_training(plan)
    if arguments["steps"] == FEW:
        print(json.dumps({"step_seconds": expected.step_seconds}))
        sys.exit()
    start = time.perf_counter()
    member = train_member(replace(plan, measured=True))
    seconds = time.perf_counter() - start
print(json.dumps({
    "steps": expected.epochs * expected.steps, "expected_megabytes": expected.memory / 2**20,
    "peak_megabytes": peak_megabytes(), "expected_seconds": expected.seconds, "seconds": seconds,
}))
"""
)


@dataclass(frozen=True)
class Case:
    """A network, the side of the crops and the crops of a step."""

    network: str
    size: int
    batch: int

    @property
    def pixels(self) -> int:
        """Pixels of a step."""
        return self.batch * self.size**2


def draw(folder: Path, size: int) -> Path:
    """Squares of four classes and void, with noise, in images of twice this side: a new file."""
    generator, cells = np.random.default_rng(size), 2 * size // 32
    masks_nhw = np.kron(generator.integers(0, 5, (IMAGES, cells, cells)), np.ones((32, 32)))
    images_nhw = masks_nhw * 40 + generator.integers(0, 40, masks_nhw.shape)
    path, none = folder / f"{size}.npz", np.zeros((0, 2 * size, 2 * size))
    np.savez(path, training_set=np.stack([images_nhw, masks_nhw], 1).astype(np.uint8), test_set=none)
    return path


def measure(case: Case, data: Path) -> dict[str, Any]:
    """One row: the estimate and the run."""
    arguments = {
        "data": str(data),
        "arch": case.network,
        "batch_size": case.batch,
        "crop": f"{case.size}x{case.size}",
    }
    few = run_program(PROGRAM, json.dumps(arguments | {"steps": FEW}), threads=None)
    steps = max(FEW + 1, round(SECONDS / few["step_seconds"]))
    found = run_program(PROGRAM, json.dumps(arguments | {"steps": steps}), threads=None)
    row: dict[str, Any] = {
        "network": case.network,
        "crop": case.size,
        "batch_size": case.batch,
        "steps": found["steps"],
    }
    for name, measured, digits in (("megabytes", "peak_megabytes", 0), ("seconds", "seconds", 1)):
        guess, truth = found[f"expected_{name}"], found[measured]
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
                rows.append({"round": round_} | measure(case, files[case.size]) | more)
                sys.stdout.write(" ".join(f"{key}={value}" for key, value in list(rows[-1].items())[:14]) + "\n")
                sys.stdout.flush()
    write_table(asked.out, rows, [column for column in rows[0] if column not in more])


if __name__ == "__main__":
    main()
