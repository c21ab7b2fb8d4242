"""Step 6 of training: sample, augment and prepare the batches of an epoch in a thread while the network computes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensemble.core.equal_sizes import equal_sizes
from ensemble.core.files import digest
from ensemble.data import Dataset
from ensemble.data.samplers import build_sampler
from ensemble.data.windows import TrainingImages
from ensemble.inference.network import to_tensor
from ensemble.training.distributed.processes import ONE_PROCESS, Processes

MOST_PIXELS = 1 << 30  # of images whose mean and standard deviation are computed
STATISTICS_PIXELS = 1 << 24  # of them that are read at once


def derive_seed(*parts: object) -> int:
    """Return a 31-bit seed, a function of ``parts``; all randomness of an epoch comes from (seed, fold, epoch)."""
    return int(digest(*(str(part) for part in parts))[:8], 16) >> 1


def steps_per_epoch(rows: int, batch_size: int, most: int | None = None) -> int:
    """Return the number of full batches, at least 1 and at most ``most``.

    A smaller last batch would have noisier BatchNorm statistics.
    """
    return max(1, min(rows // batch_size, most or rows))


def epoch_batches(
    training: TrainingImages,
    batch_size: int,
    augmentation: str | dict[str, Any],
    seed: int,
    device: str,
    sampler: str = "uniform",
    first: int = 0,
    processes: Processes = ONE_PROCESS,
    most: int | None = None,
) -> Generator[tuple[Tensor, Tensor]]:
    """Yield images (n, c, h, w) in 0..1 and labels (n, h, w) of one epoch; what teaches a student, see `TaughtLoss`.

    The images, their order, their windows and their augmentation are functions of ``seed``. A window is augmented with
    as much of the image around it as the augmentation needs, and then cut to its size. With several processes, each one
    gets its share of every batch and augments it with its own seed.

    Args:
        training: training images of one fold; augmentations that mix images take them from these only.
        batch_size: images per batch, all processes together.
        augmentation: result of ``resolve_augmentation``.
        seed: seed of the epoch, see ``derive_seed``.
        device: device of the tensors.
        sampler: text of a sampler, such as ``rare(per_batch=3)``.
        first: number of the first batch to yield; a resumed epoch skips those before it.
        processes: the processes that train together.
        most: most batches; None for as many as cover the images once.
    """
    from ensemble.data.augmentation.expression import build_augmentation, void_margin  # noqa: PLC0415  (takes a second)
    from ensemble.data.augmentation.tracing import with_targets  # noqa: PLC0415

    shown = training.shown
    total = steps_per_epoch(len(shown), batch_size, most)
    order_seed, *step_seeds = np.random.SeedSequence(seed).spawn(1 + total)
    sample, shape = build_sampler(sampler), (total, min(batch_size, len(shown)))
    order = sample(training.dataset.counts_nk[shown], shape, np.random.default_rng(order_seed))
    augment, margin = build_augmentation(augmentation, training), (0, 0)
    if training.crop is not None:
        share = void_margin(augmentation, training.dataset.image(int(shown[0])))
        margin = math.ceil(share * training.crop[0]), math.ceil(share * training.crop[1])

    def prepare(step: int) -> tuple[Tensor, Tensor]:
        batch_rows = shown[processes.share(order.positions[step])].tolist()
        around = processes.share(order.around[step]).tolist()
        batch_seed = step_seeds[step]
        share_seed = batch_seed if processes.count == 1 else batch_seed.spawn(processes.count)[processes.rank]
        generator, soft = np.random.default_rng(share_seed), training.soft
        if soft is not None:
            batch_rows = soft.mixed(batch_rows, around, generator)
        places = training.places(batch_rows, around, generator, margin)
        pairs = training.read(places)
        if soft is None:
            images, labels = augment(*pairs, generator)
        else:
            images, labels = with_targets(augment, pairs, soft.read(places), generator)
        inner = tuple(slice(more, side - more) for more, side in zip(margin, labels.shape[1:3], strict=True))
        images, labels = images[:, *inner], labels[:, *inner]
        targets = labels.astype(np.int64) if soft is None else np.ascontiguousarray(labels)
        return to_tensor(images, device), torch.from_numpy(targets).to(device)

    return prefetch(prepare, range(first, total))


def prefetch(prepare: Callable[[int], tuple[Tensor, Tensor]], steps: range) -> Generator[tuple[Tensor, Tensor]]:
    """Yield ``prepare(step)`` for all steps in order; one thread prepares the next two in advance."""
    with ThreadPoolExecutor(1) as worker:
        ahead = iter(steps)
        waiting = deque(worker.submit(prepare, step) for step in islice(ahead, 2))
        while waiting:
            waiting.extend(worker.submit(prepare, step) for step in islice(ahead, 1))
            yield waiting.popleft().result()


def pixel_statistics(dataset: Dataset, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per band.

    Of 4,000 rows or more, every k-th row is taken (2,000 at least); of large images fewer, 64 at least.
    """
    pixels = sum(math.prod(dataset.sizes[row]) for row in rows.tolist())
    enough = max(64, min(2000, int(len(rows) * MOST_PIXELS / pixels)))
    sampled_rows = rows[:: max(1, len(rows) // enough)].tolist()
    sums, squares, count = np.zeros(dataset.bands), np.zeros(dataset.bands), 0
    for batch in equal_sizes([dataset.sizes[row] for row in sampled_rows], 64, STATISTICS_PIXELS):
        images = dataset.images([sampled_rows[place] for place in batch])
        pixels = images.reshape(-1, images.shape[-1]).astype(np.float64) / (255.0 if images.dtype == np.uint8 else 1.0)
        sums, squares, count = sums + pixels.sum(0), squares + (pixels**2).sum(0), count + len(pixels)
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    return torch.from_numpy(mean), torch.from_numpy(deviation)
