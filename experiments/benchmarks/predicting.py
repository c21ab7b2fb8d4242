"""Predicting images in memory: our networks as `ens predict` runs them, next to a plain loop in PyTorch.

Usage: python experiments/benchmarks/predicting.py RUN [RUN ...] --out experiments/results/predicting.csv [--images 128]

RUN is a member or an ensemble that averages. The plain loop runs the same networks on batches of 32 random images of
the size that they were trained on, under autocast, channels-last, and means their softmax. `networks` is what commands
call for each batch; `load` is the function that `ensemble.load` returns, on all images at once. All take turns;
`to_plain` is the median of the ratios of their speeds, turn by turn.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import conditions, positive, write_table
from numpy.typing import NDArray

from ensemble.inference.hardware import autocast
from ensemble.inference.load import load
from ensemble.inference.predictor import Predictor

BATCH = 32


def plain_loop(predictor: Predictor, images_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean softmax of all networks, as one would write it by hand."""
    members = predictor.networks.members
    networks = [network for member in members for network in member.networks]
    batches: list[NDArray[np.float32]] = []
    with torch.inference_mode(), autocast("cpu", members[0].settings.precision):
        for first in range(0, len(images_nhwc), BATCH):
            images_nchw = torch.from_numpy(images_nhwc[first : first + BATCH]).permute(0, 3, 1, 2).float().div_(255)
            images_nchw = images_nchw.contiguous(memory_format=torch.channels_last)
            each = [torch.softmax(network(images_nchw).float(), 1) for network in networks]
            batches.append(torch.stack(each).mean(0).numpy())
    return np.concatenate(batches)


def row_of(run: str, images: int, turns: int) -> dict[str, Any]:
    """Return the speeds of the three ways, and of two of them relative to the plain loop."""
    predictor = load(run)
    facts = predictor.facts
    shape = (images, facts.height, facts.width, facts.bands)
    images_nhwc = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    ways = {
        "plain": lambda: plain_loop(predictor, images_nhwc),
        "networks": lambda: np.concatenate(
            [predictor.networks.of(images_nhwc[first : first + BATCH]) for first in range(0, images, BATCH)]
        ),
        "load": lambda: predictor(images_nhwc),
    }
    results = {name: way() for name, way in ways.items()}
    assert all(np.abs(result - results["plain"]).max() < 0.01 for result in results.values())
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    row: dict[str, Any] = {"run": predictor.name, "size": f"{facts.height}x{facts.width}", "images": images}
    row |= {f"{name}_images_per_second": round(images / statistics.median(seconds[name]), 1) for name in ways}
    for name in ("networks", "load"):
        pairs = zip(seconds["plain"], seconds[name], strict=True)
        row[f"{name}_to_plain"] = round(statistics.median(plain / ours for plain, ours in pairs), 3)
    return row


def main() -> None:
    """Measure one run after the other and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=positive, default=128)
    parser.add_argument("--turns", type=positive, default=9)
    plan = parser.parse_args()
    common = conditions(("torch",)) | {"threads": torch.get_num_threads(), "turns": plan.turns}
    rows = [row_of(run, plan.images, plan.turns) | common for run in plan.run]
    sys.stdout.flush()
    write_table(plan.out, rows, ("run", "plain_images_per_second", "networks_to_plain", "load_to_plain"))


if __name__ == "__main__":
    main()
