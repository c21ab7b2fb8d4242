"""Step 6 of training: sample, augment and prepare the batches of an epoch in a thread while the network computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensemble.core.files import digest
from ensemble.data import Dataset
from ensemble.data.augmentation.mixing import Donors
from ensemble.data.samplers import build_sampler
from ensemble.inference.network import to_tensor
from ensemble.training.distributed.processes import ONE_PROCESS, Processes


def derive_seed(*parts: object) -> int:
    """Return a 31-bit seed, a function of ``parts``; all randomness of an epoch comes from (seed, fold, epoch)."""
    return int(digest(*(str(part) for part in parts))[:8], 16) >> 1


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Return the number of full batches (at least 1); a smaller last batch would have noisier BatchNorm statistics."""
    return max(1, rows // batch_size)


def epoch_batches(
    dataset: Dataset,
    rows: NDArray[np.int64],
    batch_size: int,
    augmentation: str | dict[str, Any],
    seed: int,
    device: str,
    sampler: str = "uniform",
    first: int = 0,
    processes: Processes = ONE_PROCESS,
) -> Generator[tuple[Tensor, Tensor]]:
    """Yield images (n, c, h, w) in 0..1 and labels (n, h, w) of one epoch over ``rows``.

    The rows, their order and their augmentation are functions of ``seed``. With several processes, each one gets its
    share of every batch and augments it with its own seed.

    Args:
        dataset: images and labels.
        rows: training rows of one fold; augmentations that mix images take them from these rows only.
        batch_size: images per batch, all processes together.
        augmentation: result of ``resolve_augmentation``.
        seed: seed of the epoch, see ``derive_seed``.
        device: device of the tensors.
        sampler: text of a sampler, such as ``rare(per_batch=3)``.
        first: number of the first batch to yield; a resumed epoch skips those before it.
        processes: the processes that train together.
    """
    from ensemble.data.augmentation.expression import build_augmentation  # noqa: PLC0415  (albumentations takes a second)

    total = steps_per_epoch(len(rows), batch_size)
    order_seed, *step_seeds = np.random.SeedSequence(seed).spawn(1 + total)
    sample, shape = build_sampler(sampler), (total, min(batch_size, len(rows)))
    order = rows[sample(dataset.counts_nk[rows], shape, np.random.default_rng(order_seed))]
    augment = build_augmentation(augmentation, Donors(dataset, rows))

    def prepare(step: int) -> tuple[Tensor, Tensor]:
        batch_rows = processes.share(order[step]).tolist()
        batch_seed = step_seeds[step]
        share_seed = batch_seed if processes.count == 1 else batch_seed.spawn(processes.count)[processes.rank]
        generator = np.random.default_rng(share_seed)
        images, labels = augment(dataset.images(batch_rows), dataset.labels(batch_rows), generator)
        return to_tensor(images, device), torch.from_numpy(labels.astype(np.int64)).to(device)

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
    """Return mean and standard deviation per band; of 4,000 rows or more, every k-th row is taken (2,000 at least)."""
    sampled_rows = rows[:: max(1, len(rows) // 2000)]
    sums, squares, count = np.zeros(dataset.shape[0]), np.zeros(dataset.shape[0]), 0
    for start in range(0, len(sampled_rows), 64):
        images = dataset.images(sampled_rows[start : start + 64].tolist())
        pixels = images.reshape(-1, images.shape[-1]).astype(np.float64) / (255.0 if images.dtype == np.uint8 else 1.0)
        sums, squares, count = sums + pixels.sum(0), squares + (pixels**2).sum(0), count + len(pixels)
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    return torch.from_numpy(mean), torch.from_numpy(deviation)
