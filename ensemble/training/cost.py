"""Measure what an architecture costs on this machine: parameters, operations, speed, memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field

from ensemble.config import Component, DataFacts, Freeze, MemberSettings, OptimiserName
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.core.settings import Settings
from ensemble.plugins import load_plugin, loaded_plugins

if TYPE_CHECKING:
    from ensemble.training.trainer import FoldJob

COLUMNS = (
    "name",
    "parameters",
    "gflops",
    "train_images_per_second",
    "infer_images_per_second",
    "peak_memory_mb",
    "error",
)
SECONDS = 10.0  # most seconds of training steps; a first small batch takes as long as it takes
RUNS, RUN_SECONDS = 3, 1.0  # minimum number and total duration of the timed predictions


class MeasureSettings(Settings):
    """Settings of a measurement: one architecture at one image size, as training would run it."""

    name: str
    options: dict[str, Any] = Field(default={})
    bands: int = 1
    classes: int = 4
    height: int = 64
    width: int = 128
    input_size: tuple[int, int] | None = None
    input_scale: float = 1.0
    freeze: Freeze = "none"
    optimiser: OptimiserName | None = None  # None: the one that suits the network
    batch_size: int = 32
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None  # None: torch's default
    plugins: tuple[str, ...] = ()


def architectures(
    names: Iterable[str] | None = None,
    *,
    image_size: tuple[int, int] = (64, 128),
    bands: int = 1,
    classes: int = 4,
    batch_size: int = 32,
    precision: str = "auto",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress = no_progress,
) -> pd.DataFrame:
    """Measure architectures one after another, each in a new process, and return a table.

    Args:
        names: registered architectures; None measures all.
        image_size: height and width in pixels.
        bands: channels of the images.
        classes: output channels.
        batch_size: images per step.
        precision: ``auto``, ``fp32`` or ``bf16``.
        options: options by name of architecture; the others have their defaults.
        progress: callback that receives the progress.

    Returns:
        A row per architecture: ``parameters``; ``gflops`` (forward pass of one image; a multiplication with an
        addition counts as two); ``train_images_per_second`` (whole optimiser steps with cross-entropy) and
        ``infer_images_per_second``, both from the median step; ``peak_memory_mb`` (memory that building, training and
        predicting add to a process with loaded libraries); ``error`` if the architecture cannot process these images.
    """
    from ensemble.architectures import ARCHITECTURES  # noqa: PLC0415  (torch takes two seconds)

    architecture_names = list(ARCHITECTURES if names is None else names)
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(architecture_names):
        progress("measuring", number, len(architecture_names), name)
        settings = MeasureSettings(
            name=name,
            options=ARCHITECTURES.check_options(name, (options or {}).get(name, {})),
            bands=bands,
            classes=classes,
            height=image_size[0],
            width=image_size[1],
            batch_size=batch_size,
            precision=precision,
            plugins=loaded_plugins(),
        )
        rows.append(in_a_fresh_process(settings))
    progress("measuring", len(rows), len(rows))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def in_a_fresh_process(settings: MeasureSettings) -> dict[str, Any]:
    """Measure in a new process that imports nothing from the working folder; if it fails, the row holds the error."""
    command = [sys.executable, "-P", "-m", "ensemble.training.cost", settings.model_dump_json()]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"the process ended with code {process.returncode}"]
        return {"name": settings.name, "error": lines[-1]}
    return json.loads(process.stdout.splitlines()[-1])


def measure(settings: MeasureSettings) -> dict[str, Any]:
    """Measure one architecture in this process.

    Raises:
        EnsError: the architecture cannot process these images, or the batch does not fit into the memory.
    """
    import torch  # noqa: PLC0415  (two seconds)

    from ensemble.inference.batching import BATCH, largest_batch  # noqa: PLC0415
    from ensemble.inference.memory import WEIGHT_BYTES  # noqa: PLC0415
    from ensemble.inference.network import build_network, infer, to_tensor  # noqa: PLC0415
    from ensemble.inference.operations import gflops  # noqa: PLC0415
    from ensemble.training.rehearsal import rehearse  # noqa: PLC0415

    job, batch, size = _job(settings), settings.batch_size, (settings.height, settings.width)
    predicted = math.ceil(largest_batch([size] * BATCH) / math.prod(size))
    found = rehearse(job, SECONDS)

    def needed(images: int) -> int:
        return found.memory(images, min(images, predicted), predicted, held=WEIGHT_BYTES * found.weights)

    found.check(batch, needed)
    images, device = job.dataset.images(list(range(batch))), job.settings.device
    network = build_network(job.settings, job.facts).to(device).to(memory_format=torch.channels_last).eval()
    predicting = _median_seconds(lambda: infer(network, images, job.settings, device))
    return {
        "name": settings.name,
        "parameters": found.weights,
        "gflops": gflops(network, to_tensor(images[:1], device)),
        "train_images_per_second": 1 / found.training.seconds_of(1),
        "infer_images_per_second": batch / predicting,
        "peak_memory_mb": (needed(batch) - found.before) / 1e6,
        "error": None,
    }


def _median_seconds(run: Callable[[], object]) -> float:
    """Return the median duration in seconds, after one run of warm-up."""
    run()
    times: list[float] = []
    while len(times) < RUNS or sum(times) < RUN_SECONDS:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _job(settings: MeasureSettings) -> FoldJob:
    """Return a training job on random images of the requested size."""
    from ensemble.architectures import ARCHITECTURES  # noqa: PLC0415
    from ensemble.data import Dataset  # noqa: PLC0415
    from ensemble.data.formats.source import ArraySource  # noqa: PLC0415
    from ensemble.data.windows import TrainingImages  # noqa: PLC0415
    from ensemble.inference.hardware import choose_hardware  # noqa: PLC0415
    from ensemble.inference.network import build_network  # noqa: PLC0415
    from ensemble.training.optimiser import choose_optimiser, hidden_kernels  # noqa: PLC0415
    from ensemble.training.trainer import FoldJob  # noqa: PLC0415

    hardware = choose_hardware(settings.device, settings.precision)
    generator = np.random.default_rng(0)
    shape = (settings.batch_size, settings.height, settings.width)
    images = generator.integers(0, 256, (*shape, settings.bands), np.uint8)
    masks = generator.integers(1, settings.classes + 1, shape, np.uint8)
    ids = tuple(str(row) for row in range(settings.batch_size))
    source = ArraySource(images, masks, images[:0], ids, (), None, None, (0.0, 255.0), "noise")
    names = {index: f"class {index}" for index in range(settings.classes + 1)}
    counts = np.stack([np.bincount(mask.ravel(), minlength=256) for mask in masks])
    classes, values = tuple(names.values())[1:], tuple(names)[1:]
    dataset = Dataset("noise", source, "void", classes, values, names, counts, "noise")
    facts = DataFacts(
        name="noise",
        data_hash="",
        split_hash="",
        background="void",
        classes=classes,
        values=values,
        bands=settings.bands,
        height=settings.height,
        width=settings.width,
    )
    member = MemberSettings(
        architecture=Component(
            name=settings.name, options=settings.options, origin=ARCHITECTURES.origin(settings.name)
        ),
        loss=Component(name="ce"),
        augmentation="none",
        batch_size=settings.batch_size,
        input_size=settings.input_size,
        input_scale=settings.input_scale,
        freeze=settings.freeze,
        device=hardware.device,
        precision=hardware.precision,
        threads=hardware.threads,
    )
    hidden, weights = bool(hidden_kernels(build_network(member, facts))), settings.options.get("encoder_weights")
    name = choose_optimiser(settings.optimiser, hidden=hidden, pretrained=weights is not None)
    member = member.model_copy(update={"optimiser": member.optimiser.model_copy(update={"name": name})})
    rows = np.arange(settings.batch_size)
    return FoldJob(member, facts, dataset, TrainingImages(dataset, rows), rows, fold=0, epochs=1000, checkpoint=Path())


def main(text: str) -> None:
    """Measure the settings given as JSON and print a line of JSON; print an error as one line on standard error."""
    settings = MeasureSettings.model_validate_json(text)
    try:
        for plugin in settings.plugins:
            load_plugin(plugin)
        from ensemble.inference.hardware import torch_threads  # noqa: PLC0415  (torch takes two seconds)

        with torch_threads(settings.threads):
            line = json.dumps(measure(settings))
    except EnsError as error:
        sys.exit(str(error))
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
