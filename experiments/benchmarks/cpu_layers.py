"""Layers that torch trains slowly on a CPU, next to the forms in which the toolkit trains them.

Usage: python experiments/benchmarks/cpu_layers.py --out experiments/results/cpu-layers.csv

Each layer runs forward and backward on channels-last maps in bf16, in turn with the form that replaces it, on as many
threads as torch takes; `usual_ms` and `ours_ms` are medians, `times_as_fast` the median of their ratios turn by turn.
"Batch norm" is not replaced: it shows what a number of channels costs that is no multiple of 16, against the next
multiple; so `attention-unet` gives its gates 16 inner channels in place of 8. Last come whole networks: forward and
backward of a batch.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from measuring import conditions, positive, write_table
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES
from ensemble.architectures.layout import SumOfMaps, concatenate, weigh_pixels
from ensemble.inference.allocator import memory_kept
from ensemble.training.cpu_layers import use_fast_layers

Run = Callable[[], None]


def maps(images: int, channels: int, height: int, width: int) -> Tensor:
    """Return random maps in bf16."""
    made = torch.randn(images, channels, height, width).bfloat16()
    return made.contiguous(memory_format=torch.channels_last).requires_grad_()


def both_ways(compute: Callable[..., Tensor | tuple[Tensor, ...]], *inputs: Tensor) -> Run:
    """Return a function that computes something and all its gradients, under autocast as in training."""

    def results() -> tuple[Tensor, ...]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            computed = compute(*inputs)
        return computed if isinstance(computed, tuple) else (computed,)

    gradients = [torch.randn_like(result) for result in results()]

    def run() -> None:
        for tensor in inputs:
            tensor.grad = None
        torch.autograd.backward(results(), gradients)

    return run


def pair_of(layer: nn.Module, *shape: int) -> tuple[Run, Run]:
    """Return the runs of a layer as torch has it, and as training replaces it."""
    layer = layer.to(memory_format=torch.channels_last)
    fast, one = use_fast_layers(deepcopy(layer)), maps(*shape)
    return both_ways(layer, one), both_ways(fast, one)


def joined(join: Callable[..., Tensor]) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return what happens to a skip of a U-Net: it goes to the pooling, and to the join with the decoder."""

    def compute(skip_nchw: Tensor, maps_nchw: Tensor) -> tuple[Tensor, Tensor]:
        skip_nchw, maps_nchw = torch.relu(skip_nchw), torch.relu(maps_nchw)
        return join(skip_nchw, maps_nchw), nn.functional.max_pool2d(skip_nchw, 2)

    return compute


def plain_join(*parts: Tensor) -> Tensor:
    """Concatenate as torch does."""
    return torch.cat(parts, dim=1)


def stacked(*parts: Tensor) -> Tensor:
    """Add as smp's FPN does."""
    return torch.stack(parts).sum(0)


def duels() -> Iterator[tuple[str, str, tuple[Run, Run]]]:
    """Yield the layer, the shape of its maps, and both runs."""
    for channels, height, width in ((16, 64, 128), (32, 32, 64)):
        two = maps(32, channels, height, width), maps(32, channels, height, width)
        runs = both_ways(joined(plain_join), *two), both_ways(joined(concatenate), *two)
        yield "concatenation with a skip", f"32x{channels}x{height}x{width}", runs
        gate = maps(32, 1, height, width)
        runs = both_ways(torch.mul, two[0], gate), both_ways(weigh_pixels, two[0], gate)
        yield "one weight per pixel", f"32x{channels}x{height}x{width}", runs
    four = [maps(16, 64, 64, 128) for _ in range(4)]
    add = SumOfMaps()
    yield "sum of four maps (FPN)", "16x64x64x128", (both_ways(stacked, *four), both_ways(lambda *m: add(m), *four))
    for channels, height, width in ((64, 64, 128), (64, 32, 64)):
        yield (
            "group norm",
            f"16x{channels}x{height}x{width}",
            pair_of(nn.GroupNorm(32, channels), 16, channels, height, width),
        )
    for channels, side, size, stride in ((96, 64, 3, 2), (144, 32, 5, 2), (240, 16, 5, 1), (672, 8, 5, 1)):
        layer = nn.Conv2d(channels, channels, size, stride, size // 2, groups=channels, bias=False)
        name, shape = f"depthwise {size}x{size}, stride {stride}", (16, channels, side, 2 * side)
        yield name, "x".join(map(str, shape)), pair_of(layer, *shape)
    for side, times in ((8, 8), (16, 4), (64, 4)):
        layer = nn.Upsample(scale_factor=times, mode="bilinear", align_corners=True)
        name, shape = f"up-sampling of logits, {times} times", (32, 4, side, 2 * side if side < 64 else side)
        yield name, "x".join(map(str, shape)), pair_of(nn.Sequential(layer, ToFloat32()), *shape)
    for few, more in ((8, 16), (24, 32)):
        runs = [both_ways(nn.BatchNorm2d(channels), maps(32, channels, 64, 128)) for channels in (few, more)]
        yield f"batch norm, {few} against {more} channels", f"32x{few}x64x128", (runs[0], runs[1])


class ToFloat32(nn.Module):
    """The conversion of logits for a loss."""

    def forward(self, logits_nchw: Tensor) -> Tensor:
        """Return the logits in float32."""
        return logits_nchw.float()


class Stacked(nn.Module):
    """The sum of maps as smp's FPN computes it."""

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the sum."""
        return stacked(*parts)


def network_duels() -> Iterator[tuple[str, str, tuple[Run, Run]]]:
    """Yield whole networks: their steps without the optimiser."""
    for name, size, options in (
        ("fpn", (16, 1, 128, 256), {"encoder": "tu-tf_efficientnet_lite0"}),
        ("unet", (16, 1, 64, 128), {"norm": "group"}),
    ):
        usual = ARCHITECTURES.create(name, 1, 4, **options).to(memory_format=torch.channels_last)
        fast = use_fast_layers(deepcopy(usual))
        for module in [module for module in usual.modules() if isinstance(getattr(module, "merge", None), SumOfMaps)]:
            module.merge = Stacked()
        images = torch.rand(size).contiguous(memory_format=torch.channels_last).requires_grad_()
        title = f"{name}({', '.join(f'{key}={value}' for key, value in options.items())})"
        yield title, "x".join(map(str, size)), (both_ways(usual, images), both_ways(fast, images))


def seconds_of(run: Run) -> float:
    """Return how long a run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Let the forms of each layer take turns, and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--turns", type=positive, default=15)
    plan = parser.parse_args()
    common = conditions(("torch",)) | {"threads": torch.get_num_threads(), "turns": plan.turns}
    rows: list[dict[str, Any]] = []
    for layer, shape, runs in chain(duels(), network_duels()):
        with memory_kept("cpu"):  # as in training
            for run in runs * 2:
                run()
            turns = [[seconds_of(run) for run in runs] for _ in range(plan.turns)]
        usual, ours = (statistics.median(turn[number] for turn in turns) for number in (0, 1))
        times = statistics.median(turn[0] / turn[1] for turn in turns)
        row = {"layer": layer, "maps": shape, "usual_ms": round(1000 * usual, 1), "ours_ms": round(1000 * ours, 1)}
        rows.append(row | {"times_as_fast": round(times, 1)} | common)
        sys.stdout.write(f"{layer} {shape}: {times:.1f} times as fast\n")
    write_table(plan.out, rows, ("layer", "maps", "usual_ms", "ours_ms", "times_as_fast"))


if __name__ == "__main__":
    main()
