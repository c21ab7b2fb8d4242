"""Where the time of a training step goes: shares of kinds of operations, for each architecture.

Usage: python experiments/benchmarks/step_profile.py mars.npz --out experiments/results/step-profile.csv [--arch unet]

The engine's own step (`Trainer.step`, as `ens train` takes it, without the data) under PyTorch's profiler: a kind's
share is the time spent in its operations themselves, forward and backward, over that of all operations. `step_ms` is
the median step without the profiler.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import torch
from contestants import make_job
from measuring import conditions, positive, write_table

from ensemble.training.batches import epoch_batches
from ensemble.training.trainer import Trainer, start_training

KINDS = {  # the first kind of which a word is in an operation's name
    "convolutions": ("conv", "mkldnn_linear", "addmm", "bmm"),
    "normalisation": ("norm_backward", "batch_norm", "layer_norm", "group_norm"),
    "optimiser, clipping, EMA": ("adamw", "lerp", "linalg_vector_norm", "Optimizer", "_foreach"),
    "loss": ("softmax", "nll_loss", "index", "masked_fill", "LogSoftmax"),
    "activations": ("threshold", "clamp", "relu", "gelu", "sigmoid", "silu"),
    "pooling, resampling": ("pool", "upsample", "pixel_shuffle"),
    "copies, sums": ("copy", "cat", "add", "mul", "sub", "div", "sum", "mean", "fill", "slice", "pad", "clone"),
}
ARCHS = ("unet-baseline", "unet", "attention-unet", "smp-unet", "linknet", "pspnet")


def kind_of(operation: str) -> str:
    """The kind of an operation of PyTorch."""
    return next((kind for kind, words in KINDS.items() if any(word in operation for word in words)), "other")


def shares(trainer: Trainer, batches: list[Any], steps: int) -> dict[str, float]:
    """Share of the time in each kind of operation over some steps."""
    seconds: Counter[str] = Counter()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for step in range(steps):
            images_nchw, labels_nhw = batches[step % len(batches)]
            trainer.step(images_nchw, labels_nhw, step)
    for event in profile.key_averages():
        seconds[kind_of(event.key)] += event.self_cpu_time_total
    return {kind: round(seconds[kind] / seconds.total(), 4) for kind in (*KINDS, "other")}


def row_of(data: str, arch: str, steps: int) -> dict[str, Any]:
    """Shares and the median step of one architecture."""
    task = {"data": data, "arch": arch, "batch_size": 32, "precision": "auto", "seed": 0, "epochs": 10}
    with tempfile.TemporaryDirectory() as out:
        job = make_job(task, out)
        trainer, settings = start_training(job), job.settings
        trainer.network.train()
        made = epoch_batches(job.training, settings.batch_size, settings.augmentation, 0, "cpu")
        batches = [next(made) for _ in range(4)]
        made.close()
        times: list[float] = []
        for step in range(3 + steps):
            start = time.perf_counter()
            trainer.step(*batches[step % 4], step)
            times.append(time.perf_counter() - start)
        found = shares(trainer, batches, steps)
    return {"architecture": arch, "step_ms": round(1000 * statistics.median(times[3:]), 1), **found}


def main() -> None:
    """Profile the architectures one after another and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an npz file, a folder with images/ and masks/, or 'sample'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", action="append", help=f"repeatable; {', '.join(ARCHS)} where left out")
    parser.add_argument("--steps", type=positive, default=6)
    plan = parser.parse_args()
    common = conditions(("torch",)) | {"threads": torch.get_num_threads(), "batch_size": 32, "steps": plan.steps}
    rows: list[dict[str, Any]] = []
    for arch in plan.arch or ARCHS:
        rows.append(row_of(plan.data, arch, plan.steps) | common | {"data": Path(plan.data).name})
        sys.stdout.write(f"{arch}: {rows[-1]['step_ms']} ms a step\n")
    write_table(plan.out, rows, ("architecture", "step_ms", *KINDS, "other"))


if __name__ == "__main__":
    main()
