"""Prediction of large images in tiles: seconds and peak memory against the side of the image, ours and MONAI's.

Usage: python experiments/benchmarks/tiles.py --out experiments/results/tiles.csv [--sides 1000 2000 4000] [--rounds 3]

The network is `unet(filters=8)` with random weights, on images of three bands with four classes. Both tools get the
image as bytes in memory, the same network, tiles of the same side with the same overlap, one at a time, and return the
class of every pixel:
- `ens`: the strips of `PooledNetworks`, decided one after another,
- `ens-probabilities`: the same, but the probabilities of the whole image are kept until all are there,
- `monai`: `sliding_window_inference` with its default weights (constant), then the most probable class.
Each point is a process of its own (peak memory is the kernel's figure, VmHWM), and rounds alternate between the tools;
seconds are those of the prediction, of the clock and of the processor: medians of the rounds. `loaded_megabytes` is the
peak before the prediction.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring import conditions, positive, run_program, spread, write_table

PROGRAM = """
import numpy as np, torch
from ensemble.config import Component, DataFacts, MemberSettings
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.network import build_network, to_tensor
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.inference.tiles import tiling_for
tool, side, reach = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
torch.manual_seed(0)
settings = MemberSettings(
    architecture=Component(name="unet", options={"filters": 8}), loss=Component(name="ce"), crop=(256, 256)
)
facts = DataFacts(
    name="", data_hash="", split_hash="", background="class", classes=tuple("abcd"), values=(0, 1, 2, 3), bands=3,
    height=side, width=side,
)
network = build_network(settings, facts).to(memory_format=torch.channels_last).eval()
member = MemberNetwork((network,), settings, facts, "cpu")
if tool == "measure":
    print(json.dumps({"reach": member.reach}))
    sys.exit()
member.__dict__["reach"] = reach
tiling = tiling_for(reach)
image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
if tool == "monai":
    from monai.inferers import sliding_window_inference
loaded = peak_megabytes()
start, cpu = time.perf_counter(), time.process_time()
if tool == "ens":
    pooled = PooledNetworks.of_one(member)
    strips = pooled.strips(lambda first, end: image[first:end], side, side)
    classes = np.concatenate([strip.argmax(0).astype(np.uint8) for strip in strips])
elif tool == "ens-probabilities":
    pooled = PooledNetworks.of_one(member)
    strips = pooled.strips(lambda first, end: image[first:end], side, side)
    classes = np.concatenate(list(strips), axis=1).argmax(0).astype(np.uint8)
else:
    with torch.inference_mode():
        logits = sliding_window_inference(
            to_tensor(image[None], "cpu"), tiling.tile, 1, network, overlap=1 - tiling.step / tiling.tile
        )
        classes = logits[0].argmax(0).to(torch.uint8).numpy()
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
assert classes.shape == (side, side)
print(json.dumps({
    "seconds": seconds, "cpu_seconds": cpu, "peak_megabytes": peak_megabytes(), "loaded_megabytes": loaded,
    "tile": tiling.tile, "step": tiling.step, "tiles": len(tiling.spans(side)) ** 2,
}))
"""
TOOLS = ("ens", "ens-probabilities", "monai")


def measure(side: int, reach: int, rounds: int, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Measure all tools with images of one side, one after another in every round."""
    found: dict[str, list[dict[str, Any]]] = {tool: [] for tool in TOOLS}
    for number in range(rounds):
        for tool in TOOLS:
            found[tool].append(run_program(PROGRAM, tool, side, reach))
            print(number + 1, side, tool, json.dumps(found[tool][-1]), flush=True)
    rows: list[dict[str, Any]] = []
    for tool, each in found.items():
        memory = {name: statistics.median(one[name] for one in each) for name in ("peak_megabytes", "loaded_megabytes")}
        plan = {name: each[0][name] for name in ("tile", "step", "tiles")}
        seconds = {
            k: v for name in ("seconds", "cpu_seconds") for k, v in spread((one[name] for one in each), name, 2).items()
        }
        rows.append({"side": side, "tool": tool, **seconds, **memory, **plan, "rounds": rounds, **about})
    return rows


def main() -> None:
    """Measure every side and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sides", type=positive, nargs="+", default=[1000, 2000, 4000])
    parser.add_argument("--rounds", type=positive, default=3)
    arguments = parser.parse_args()
    reach = run_program(PROGRAM, "measure", 64, 0)["reach"]
    about = {"reach": reach, **conditions(("numpy", "torch", "monai"))}
    rows: list[dict[str, Any]] = []
    for side in arguments.sides:
        rows += measure(side, reach, arguments.rounds, about)
        write_table(
            arguments.out,
            rows,
            ("side", "tool", "seconds", "cpu_seconds", "peak_megabytes", "loaded_megabytes", "tiles"),
        )


if __name__ == "__main__":
    main()
