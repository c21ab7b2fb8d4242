"""How long ``ensemble.load(...)`` takes for one image, next to plain torch with the same networks.

Usage: python experiments/benchmarks/latency.py --out experiments/results/latency.csv [--repeats 60] [--threads 1 2]
Three members are trained for a few steps on the embedded sample, because weights do not change the time, and averaged.
A member and the ensemble become bundles, and both ways take turns: an array of bytes in, an array of probabilities out.
Plain torch is what a user would write for these networks: one tensor, each network in its precision, softmax, and the
mean. One row per model, image size and number of threads, with medians and the median of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import ensemble
from ensemble.core.files import write_bytes
from ensemble.inference.hardware import cpu_name, torch_threads
from ensemble.inference.predictor import Predictor

NETWORKS = ("unet(filters=16)", "unet-baseline(filters=16)", "linknet(encoder=resnet18)")
SIZES = ((64, 128), (256, 256), (512, 512))
WARM_UP = 5
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def make_bundles(folder: Path) -> list[Path]:
    """Train the members for two steps each, average them, and bundle the first member and the ensemble."""
    runs = folder / "runs"
    members = [ensemble.train("sample", arch=arch, steps=2, device="cpu", out=runs) for arch in NETWORKS]
    done = ensemble.combine(method="average", runs=runs)
    models = {"member": members[0].path, "ensemble": done.ensemble.path}
    return [ensemble.bundle(path, folder / f"{name}.ens", latency=False).path for name, path in models.items()]


def plain(predictor: Predictor) -> Predict:
    """Return what a user would write for the networks of a model: no check, no tile, no pool."""
    pairs = [(network, one.settings.precision) for one in predictor.networks.members for network in one.networks]

    def predict(image_hwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        image = torch.from_numpy(image_hwc).permute(2, 0, 1)[None].float().div_(255)
        image = image.contiguous(memory_format=torch.channels_last)
        total = None
        with torch.inference_mode():
            for network, precision in pairs:
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    logits = network(image)
                probs = torch.softmax(logits.float(), 1)
                total = probs if total is None else total + probs
            assert total is not None
            return (total / len(pairs))[0].numpy()

    return predict


def seconds(ways: Sequence[Predict], image: NDArray[np.uint8], repeats: int) -> NDArray[np.float64]:
    """Return the seconds (repeats, ways) of each way in turn, after a warm-up; the first way changes with each turn."""
    found = np.zeros((WARM_UP + repeats, len(ways)))
    for turn in range(len(found)):
        for place in [*range(turn % len(ways), len(ways)), *range(turn % len(ways))]:
            start = time.perf_counter()
            ways[place](image)
            found[turn, place] = time.perf_counter() - start
    return found[WARM_UP:]


def measure(file: Path, size: tuple[int, int], repeats: int) -> dict[str, Any]:
    """Return a row of the table."""
    predictor = ensemble.load(file)
    image = np.random.default_rng(0).integers(0, 256, (*size, predictor.facts.bands), dtype=np.uint8)
    ways = (plain(predictor), predictor)
    np.testing.assert_allclose(ways[1](image), ways[0](image), atol=1e-3)
    found = seconds(ways, image, repeats)
    medians = [1000 * statistics.median(found[:, place]) for place in range(2)]
    return {
        "model": file.stem,
        "networks": len(predictor.networks.members),
        "image_size": f"{size[0]}x{size[1]}",
        "threads": torch.get_num_threads(),
        "plain_ms": round(medians[0], 2),
        "load_ms": round(medians[1], 2),
        "overhead": round(float(np.median(found[:, 1] / found[:, 0])) - 1, 4),
        "repeats": repeats,
        "cpu": cpu_name(),
        "load_average": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
    }


def main() -> None:
    """Make the bundles, time both ways, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    rows = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as text:
        for file in make_bundles(Path(text)):
            for threads in arguments.threads:
                with torch_threads(threads):
                    rows += [measure(file, size, arguments.repeats) for size in SIZES]
    write_bytes(arguments.out, pd.DataFrame(rows).to_csv(index=False).encode())


if __name__ == "__main__":
    main()
