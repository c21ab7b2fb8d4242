"""Measure how long a loaded model takes for one image on this machine, with what the time depends on."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import numpy as np
import torch

from ensemble.core.progress import Progress, no_progress
from ensemble.data.formats.pixels import BYTES
from ensemble.inference.hardware import cpu_name
from ensemble.inference.predictor import Predictor

WARM_UP = 2  # images before the first one that counts
FEWEST, MOST, SECONDS = 5, 30, 3.0  # images that are timed, and how long this may take
LARGEST_SIDE = 1024  # larger images are predicted in tiles of about this size


def measure_latency(predictor: Predictor, progress: Progress = no_progress) -> dict[str, Any]:
    """Return the median of the milliseconds for one image, from an array to its probabilities, and the conditions.

    The image is as large as the largest training image, but a side has at most 1,024 pixels.
    """
    facts = predictor.facts
    height, width = min(facts.height, LARGEST_SIDE), min(facts.width, LARGEST_SIDE)
    noise = np.random.default_rng(0).random((height, width, facts.bands), np.float32)
    low, high = facts.span
    image = (noise * 256).astype(np.uint8) if facts.span == BYTES else noise * np.float32(high - low) + np.float32(low)
    before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    times, start, task, total = list[float](), time.perf_counter(), "measuring the time of one image", WARM_UP + MOST
    progress(task, 0, total)
    while len(times) < total:
        since = time.perf_counter()
        predictor(image)
        times.append(time.perf_counter() - since)
        if len(times) >= WARM_UP + FEWEST and time.perf_counter() - start > SECONDS:
            total = len(times)
        progress(task, len(times), total)
    counted = times[WARM_UP:]
    quarters = statistics.quantiles(counted, n=4)
    return {
        "ms": round(1000 * statistics.median(counted), 2),
        "quartiles_ms": [round(1000 * quarters[0], 2), round(1000 * quarters[2], 2)],
        "images": len(counted),
        "height": height,
        "width": width,
        "bands": facts.bands,
        "device": "cpu",
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": None if before is None else round(before, 2),
        "torch": torch.__version__,
    }
