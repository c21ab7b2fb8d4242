"""What ``training.py`` measures, each in a process: a loop's speed, its way to a score, and the machine's peak."""

from __future__ import annotations

import importlib
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from contestants import CONTESTANTS, fresh_network, make_job
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ensemble.data import VOID
from ensemble.inference.network import Network, to_tensor
from ensemble.training.loop import validation_miou
from ensemble.training.trainer import FoldJob

Shape = tuple[int, int, int, int, int]
# Convolutions of 3x3 with 2.4 billion operations each: images, channels in, height, width, channels out. Large enough
# for full speed, and short, so that on a busy machine some calls are not interrupted.
SHAPES: tuple[Shape, ...] = (
    *((4, 64, 64, 128, 64), (4, 128, 32, 64, 128), (4, 256, 16, 32, 256), (4, 512, 8, 16, 512)),
    *((1, 128, 64, 128, 128), (1, 256, 32, 64, 256)),
)


@dataclass
class Stopwatch:
    """Times the steps that follow the warm-up."""

    job: FoldJob
    warmup: int
    steps: int
    ends: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])  # clock, processor

    def __call__(self, network: nn.Module) -> bool:
        """Whether all steps are done."""
        self.ends.append((time.perf_counter(), time.process_time()))
        return len(self.ends) == self.warmup + self.steps

    def found(self) -> dict[str, Any]:
        """Images per second, and how many cores were at work in that time."""
        durations = step_durations(self.ends, self.warmup, self.job.steps)
        wall, cpu = durations.sum(0).tolist()
        images = len(durations) * min(self.job.settings.batch_size, len(self.job.training_rows))
        return {"images_per_second": images / wall, "cores_used": cpu / wall, "timed_steps": len(durations)}


def step_durations(ends: Sequence[tuple[float, float]], warmup: int, per_epoch: int) -> np.ndarray[Any, Any]:
    """Seconds (steps, 2) of the steps after the warm-up; the first of an epoch is left out.

    What a loop does between two epochs (evaluation, checkpoint, new workers) falls into it, and loops do that more or
    less often; where every step is the first of an epoch, all count.
    """
    steps = np.arange(warmup, len(ends))
    kept = steps[steps % per_epoch != 0] if per_epoch > 1 else steps
    return np.diff(np.array(ends), axis=0)[kept - 1]


@dataclass
class Race:
    """Predicts the validation images every half epoch, outside the clock, until their mean IoU reaches the goal."""

    job: FoldJob
    goal: float
    cap: float  # seconds
    seconds: float = 0.0
    done: int = 0
    miou: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def __call__(self, network: Network) -> bool:
        """Whether the goal is reached or the time is up."""
        self.seconds += time.perf_counter() - self.started
        self.done += 1
        if self.done % max(1, self.job.steps // 2) == 0:
            training = network.training
            self.miou = validation_miou(network.eval(), self.job)
            network.train(training)
        self.started = time.perf_counter()
        return self.miou >= self.goal or self.seconds >= self.cap

    def found(self) -> dict[str, Any]:
        """Seconds of training until the goal, None where it was not reached, and where the race ended."""
        reached = self.miou >= self.goal
        return {"seconds_to_miou": self.seconds if reached else None, "miou": self.miou, "steps_to_miou": self.done}


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Let one contestant train, and return what was measured."""
    loop, precision = CONTESTANTS[task["contestant"]]
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(task | {"precision": precision}, folder)
        options: dict[str, Any] = {}
        if task["contestant"] == "lightning":
            importlib.import_module("lightning")  # not on the clock

            options = {"workers": task["workers"]}
        before = psutil.Process().memory_info().rss / 2**20
        if task["goal"] is None:
            needed = math.ceil((task["warmup"] + task["steps"]) / job.steps)
            job = replace(job, epochs=max(job.epochs, needed))
            watch = Stopwatch(job, task["warmup"], task["steps"])
        else:
            watch = Race(job, task["goal"], task["cap"])
        loop(job, watch, **options)
    facts = {"precision": job.settings.precision, "threads": torch.get_num_threads(), "megabytes_before": before}
    return watch.found() | facts


def costs(task: dict[str, Any]) -> dict[str, Any]:
    """Operations of training on one image, parameters, image size, and the machine's peaks in both precisions."""
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(task | {"precision": "fp32"}, folder)
        network, rows = fresh_network(job).train(), job.training_rows[:2].tolist()
        labels_nhw = torch.from_numpy(job.dataset.labels(rows)).long()
        operations = training_operations(network, to_tensor(job.dataset.images(rows), "cpu"), labels_nhw)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "operations": operations / len(rows),
        "training_images": len(job.training_rows),
        "image_size": f"{job.facts.height}x{job.facts.width}x{job.facts.bands}",
        "peaks": {name: convolution_peak(kind) for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16))},
    }


def training_operations(network: nn.Module, images_nchw: Tensor, labels_nhw: Tensor) -> float:
    """Operations of a forward and a backward pass, a multiplication and an addition counting as two."""
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(network(images_nchw), labels_nhw, ignore_index=VOID).backward()
    return float(counter.get_total_flops())


def convolution_operations(shape: Shape) -> int:
    """``2 * 9 * channels in * channels out`` for every pixel of every image."""
    images, channels, height, width, filters = shape
    return 2 * 9 * channels * filters * images * height * width


def convolution_peak(kind: torch.dtype, shapes: Sequence[Shape] = SHAPES, seconds: float = 1.0) -> float:
    """Most operations a second that a convolution reaches here, channels last, all threads: its fastest call."""
    best = 0.0
    for shape in shapes:
        images, channels, height, width, filters = shape
        maps_nchw = torch.randn(images, channels, height, width).to(kind).to(memory_format=torch.channels_last)
        kernels = torch.randn(filters, channels, 3, 3).to(kind).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            times: list[float] = []
            while len(times) < 3 or sum(times) < seconds:
                start = time.perf_counter()
                F.conv2d(maps_nchw, kernels, padding=1)
                times.append(time.perf_counter() - start)
        best = max(best, convolution_operations(shape) / min(times))
    return best
