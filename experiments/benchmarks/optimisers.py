"""What a step of each optimiser takes: AdamW, Muon as torch has it, and the toolkit's Muon.

Usage: python experiments/benchmarks/optimisers.py --out experiments/results/optimisers.csv

Networks of one band and four classes, gradients of random numbers, weights and gradients in channels-last order, as
many threads as torch takes. All three take turns; `ms` is the median over the turns, `times_as_fast` the median of
torch's time over that of the optimiser, turn by turn. Both kinds of Muon take the same kernels and leave the rest to
AdamW; torch's multiplies in bf16, the toolkit's in `precision`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import conditions, positive, write_table
from torch import nn

from ensemble.architectures import ARCHITECTURES
from ensemble.inference.allocator import memory_kept
from ensemble.training.optimiser import AdamW, MuonAndAdamW, as_matrix, hidden_kernels

ARCHS = ("unet-baseline", "unet", "attention-unet", "residual-unet", "smp-unet", "linknet", "pspnet")
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
Step = Callable[[], None]


def network_of(arch: str) -> nn.Module:
    """Return a network with a gradient at every parameter."""
    torch.manual_seed(0)
    network = ARCHITECTURES.create(arch, 1, 4).to(memory_format=torch.channels_last)
    for weights in network.parameters():
        weights.grad = torch.randn_like(weights)
    return network


def torch_muon(network: nn.Module) -> Step:
    """Return a step of torch's Muon for the hidden kernels and of AdamW for the rest."""
    hidden = hidden_kernels(network)
    ids = {id(kernel) for kernel in hidden}
    matrices = [nn.Parameter(as_matrix(kernel.detach())) for kernel in hidden]
    muon = torch.optim.Muon(matrices, lr=1e-4, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([p for p in network.parameters() if id(p) not in ids], lr=1e-4, fused=True)

    def step() -> None:
        for kernel, matrix in zip(hidden, matrices, strict=True):
            assert kernel.grad is not None
            matrix.grad = as_matrix(kernel.grad)
        adamw.step()
        muon.step()

    return step


def steps_of(arch: str, precision: str) -> dict[str, Step]:
    """Return a step of each optimiser, each for a network of its own."""
    adamw, both = network_of(arch), network_of(arch)
    groups = [{"params": list(both.parameters()), "weight_decay": 1e-4}]
    ours = MuonAndAdamW(groups, hidden_kernels(both), lr=1e-4, fused=True, dtype=PRECISIONS[precision])
    return {
        "adamw": AdamW(adamw.parameters(), lr=1e-4, fused=True).step,
        "muon": ours.step,
        "torch-muon": torch_muon(network_of(arch)),
    }


def rows_of(arch: str, precision: str, turns: int) -> list[dict[str, Any]]:
    """Time the optimisers in turn; the first two turns do not count."""
    steps = steps_of(arch, precision)
    times: dict[str, list[float]] = {name: [] for name in steps}
    with memory_kept("cpu"):  # as in training
        for _ in range(2 + turns):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                times[name].append(1000 * (time.perf_counter() - start))

    def row(name: str) -> dict[str, Any]:
        own, torchs = times[name][2:], times["torch-muon"][2:]
        ratios = [slow / fast for slow, fast in zip(torchs, own, strict=True)]
        return {
            "architecture": arch,
            "precision": precision,
            "optimiser": name,
            "ms": round(statistics.median(own), 2),
            "times_as_fast": round(statistics.median(ratios), 2),
            "turns": turns,
        }

    return [row(name) for name in steps]


def main() -> None:
    """Time the optimisers for each architecture and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", action="append", choices=list(ARCHITECTURES), help="repeatable; else seven of them")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="bf16")
    parser.add_argument("--turns", type=positive, default=15)
    asked = parser.parse_args()
    common = conditions(("torch",)) | {"threads": torch.get_num_threads()}
    rows = [row | common for arch in asked.arch or ARCHS for row in rows_of(arch, asked.precision, asked.turns)]
    write_table(asked.out, rows, ("architecture", "precision", "optimiser", "ms", "times_as_fast"))


if __name__ == "__main__":
    main()
