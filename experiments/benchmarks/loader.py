"""Is reading what training waits for? Steps per second on crops of photographs, by where their pixels come from.

Usage: python experiments/benchmarks/loader.py --out experiments/results/loader.csv [--images 1000] [--device cpu]
Photographs of 1 to 12 megapixels are drawn (`photographs.py`); they and the cache are removed at the end. A network
trains on crops of 256x256, one of every photograph, in a random order, while one thread reads the crops of the next
steps, as in `ens train`. A block of steps is trained once with each of these, one after the other, on the same crops:
- `cold`: the photographs are decoded and written to the cache on disk,
- `memory`: the crops are arrays in memory,
- `disk`: the crops are read from the cache on disk,
- `disk, dropped`: the same, after the system has dropped what it keeps of these files in memory,
- `on demand`: a photograph is decoded for every crop, and nothing is kept.
The cache in memory is off. The first steps of a block do not count. `share` is the steps per second as a share of those
of `memory`, by the median step; `share_of_total`, by the seconds of all steps. `read_seconds` is what the thread needs
for the crops of a step. Exit code 1 if `disk` has less than 0.9 of `memory`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
import torch.nn.functional as F
from measuring import conditions, positive, write_table
from numpy.typing import NDArray
from photographs import CLASSES, save_all
from torch import Tensor

from ensemble.architectures import ARCHITECTURES
from ensemble.config import DataSettings, Precision
from ensemble.data import Dataset, open_dataset
from ensemble.data.formats.files import FileSource
from ensemble.data.pixel_cache import PixelCache
from ensemble.data.pixel_folder import PixelFolder
from ensemble.inference.hardware import autocast, choose_hardware
from ensemble.inference.network import to_tensor
from ensemble.training.batches import prefetch

CROP, GOAL = 256, 0.9
Crop = tuple[int, tuple[int, int], tuple[int, int]]
Batch = Sequence[Crop]
Pixels = tuple[NDArray[Any], NDArray[Any]]
WAYS = ("cold", "memory", "disk", "disk, dropped", "on demand")
SHOWN = ("pixels_from", "steps_per_second", "step_seconds", "read_seconds", "share", "share_of_total")


@dataclass
class Times:
    """Seconds of the steps that count, and what reading their crops took."""

    steps: list[float] = field(default_factory=list[float])
    reads: list[float] = field(default_factory=list[float])


@dataclass(frozen=True)
class Trainer:
    """A network and its optimiser."""

    network: torch.nn.Module
    optimiser: torch.optim.Optimizer
    device: str
    precision: Precision

    def step(self, images_nchw: Tensor, labels_nhw: Tensor) -> float:
        """Do a step and wait for its loss, as `ens train` does."""
        with autocast(self.device, self.precision):
            logits = self.network(images_nchw)
        loss = F.cross_entropy(logits.float(), labels_nhw, ignore_index=255)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach().cpu())


def make_trainer(plan: argparse.Namespace) -> Trainer:
    """A network for photographs in five classes, from a seed."""
    torch.manual_seed(0)
    torch.set_num_threads(plan.threads)
    hardware = choose_hardware(plan.device)
    network = ARCHITECTURES.create("unet", 3, CLASSES, filters=plan.filters)
    network = network.to(hardware.device).to(memory_format=torch.channels_last).train()
    return Trainer(network, torch.optim.AdamW(network.parameters(), fused=True), hardware.device, hardware.precision)


def draw_crops(sizes: Sequence[tuple[int, int]], steps: int, batch_size: int) -> list[list[Crop]]:
    """Batches of crops within images of these sizes; every image gives one before any gives a second."""
    rng, total = np.random.default_rng(0), len(sizes)
    rows = np.concatenate([rng.permutation(total) for _ in range(-(-steps * batch_size // total))])
    crops: list[Crop] = []
    for row in rows[: steps * batch_size].tolist():
        top, left = (int(rng.integers(side - CROP + 1)) for side in sizes[row])
        crops.append((row, (top, top + CROP), (left, left + CROP)))
    return [crops[first : first + batch_size] for first in range(0, len(crops), batch_size)]


def read_crops(dataset: Dataset, batch: Batch) -> Pixels:
    """The pixels and the labels of a batch."""
    images = np.stack([dataset.window(*crop) for crop in batch])
    return images, np.stack([dataset.label_window(*crop) for crop in batch])


def with_cache(dataset: Dataset, key: str, share: float) -> Dataset:
    """The same data with a cache on disk that may take this share of what is free, and none in memory."""
    assert isinstance(dataset.source, FileSource)
    return replace(dataset, source=replace(dataset.source, pixels=PixelCache(PixelFolder(key, share), share=0)))


def reader(way: str, dataset: Dataset, batches: Sequence[Batch]) -> Callable[[int], Pixels]:
    """What reads the crops of a step of a block in one way."""
    cached = with_cache(dataset, "loader", 0.9)
    if way == "on demand":
        return lambda step: read_crops(with_cache(dataset, "nothing", 0), batches[step])
    if way == "memory":
        kept = [read_crops(cached, batch) for batch in batches]
        return lambda step: kept[step]
    if way == "disk, dropped":
        drop(PixelFolder("loader").path)
    return lambda step: read_crops(cached, batches[step])


def drop(folder: Path) -> None:
    """Let the system drop what it keeps in memory of the files of a folder."""
    for file in folder.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run_block(trainer: Trainer, read: Callable[[int], Pixels], steps: int, warmup: int, times: Times) -> None:
    """Train a block, and note the seconds of the steps after the first ones."""
    reads = dict[int, float]()

    def prepare(step: int) -> tuple[Tensor, Tensor]:
        start = time.perf_counter()
        images, labels = read(step)
        tensors = to_tensor(images, trainer.device), torch.from_numpy(labels.astype(np.int64)).to(trainer.device)
        reads[step] = time.perf_counter() - start
        return tensors

    before = time.perf_counter()
    for step, (images, labels) in enumerate(prefetch(prepare, range(steps))):
        trainer.step(images, labels)
        now = time.perf_counter()
        if step >= warmup:
            times.steps.append(now - before)
            times.reads.append(reads[step])
        before = now


def rows_of(found: Mapping[str, Times]) -> list[dict[str, Any]]:
    """A row for each way."""
    median = {way: statistics.median(times.steps) for way, times in found.items()}
    total = {way: statistics.fmean(times.steps) for way, times in found.items()}
    return [
        {
            "pixels_from": way,
            "steps_per_second": round(1 / median[way], 3),
            "step_seconds": round(median[way], 4),
            "step_seconds_mean": round(total[way], 4),
            "read_seconds": round(statistics.median(times.reads), 4),
            "share": round(median["memory"] / median[way], 3),
            "share_of_total": round(total["memory"] / total[way], 3),
            "steps": len(times.steps),
        }
        for way, times in found.items()
    ]


def measure(plan: argparse.Namespace, root: Path) -> list[dict[str, Any]]:
    """Draw the photographs, train on them in blocks, and write the CSV after each."""
    pixels, jpeg, png = save_all(root / "photographs", plan.images, plan.threads).sum(0).tolist()
    start = time.perf_counter()
    dataset = open_dataset(DataSettings(source=str(root / "photographs")))
    opened, trainer = time.perf_counter() - start, make_trainer(plan)
    name = torch.cuda.get_device_name() if trainer.device == "cuda" else trainer.device
    about = conditions(("torch", "numpy", "opencv-python-headless"))
    about |= {"threads": plan.threads, "device": name, "precision": trainer.precision, "arch": f"unet({plan.filters})"}
    about |= {"crop": CROP, "batch_size": plan.batch_size, "images": plan.images, "seconds_to_open": round(opened, 1)}
    about |= {"megapixels": round(pixels / 1e6), "jpeg_gigabytes": round(jpeg / 1e9, 2)}
    about |= {"png_gigabytes": round(png / 1e9, 3), "decoded_gigabytes": round(4 * pixels / 1e9, 1)}
    batches = draw_crops(dataset.sizes, plan.steps, plan.batch_size)
    found, rows = {way: Times() for way in WAYS}, list[dict[str, Any]]()
    for first in range(0, len(batches), plan.block):
        block = batches[first : first + plan.block]
        for way, times in found.items():
            run_block(trainer, reader(way, dataset, block), len(block), plan.warmup, times)
        rows = [row | about for row in rows_of(found)]
        print(f"step {first + len(block)} of {len(batches)}")
        write_table(plan.out, rows, SHOWN)
    return rows


def main() -> None:
    """Measure and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=positive, default=1000)
    parser.add_argument("--steps", type=positive, default=125, help="of each way, those that do not count included")
    parser.add_argument("--block", type=positive, default=12, help="steps of one way before the next one's turn")
    parser.add_argument("--warmup", type=positive, default=2, help="first steps of a block, which do not count")
    parser.add_argument("--batch-size", type=positive, default=8)
    parser.add_argument("--filters", type=positive, default=4, help="of the U-Net")
    parser.add_argument("--threads", type=positive, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    plan = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        platformdirs.user_cache_path = partial(_cache, Path(name))
        rows = measure(plan, Path(name))
    sys.exit(next(row["share"] for row in rows if row["pixels_from"] == "disk") < GOAL)


def _cache(root: Path, *_: object, **__: object) -> Path:
    return root / "cache"


if __name__ == "__main__":
    main()
