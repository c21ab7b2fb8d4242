"""Batches of one epoch: sampled, augmented and prepared by a thread while the network computes."""

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
    """A 31-bit seed that is a function of ``parts``: all randomness of an epoch comes from (seed, fold, epoch)."""
    return int(digest(*(str(part) for part in parts))[:8], 16) >> 1


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Full batches only: a smaller last batch would have noisier BatchNorm statistics."""
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
    """Images (n, c, h, w) in 0..1 and labels (n, h, w) of one epoch over ``rows``.

    Everything random is a function of ``seed``: which rows, in which order, and how each batch is augmented. Of
    several processes each gets its share of every batch, augmented by a seed of its own.

    Args:
        dataset: images and labels.
        rows: training rows of one fold; augmentations take pieces of other images from them alone.
        batch_size: images per batch, of all processes together.
        augmentation: what ``resolve_augmentation`` returns.
        seed: seed of the epoch, see ``derive_seed``.
        device: where the tensors go.
        sampler: text of a sampler, such as ``rare(per_batch=3)``.
        first: batch to begin with, where those before it have been trained on.
        processes: those that train together.
    """
    from ensemble.data.augmentation.expression import build_augmentation  # noqa: PLC0415  (albumentations takes a second)

    total = steps_per_epoch(len(rows), batch_size)
    order_seed, *step_seeds = np.random.SeedSequence(seed).spawn(1 + total)
    sample, shape = build_sampler(sampler), (total, min(batch_size, len(rows)))
    order = rows[sample(dataset.counts_nk[rows], shape, np.random.default_rng(order_seed))]
    augment = build_augmentation(augmentation, Donors(dataset, rows))

    def prepare(step: int) -> tuple[Tensor, Tensor]:
        chosen = processes.share(order[step]).tolist()
        batch_seed = step_seeds[step]
        share_seed = batch_seed if processes.count == 1 else batch_seed.spawn(processes.count)[processes.rank]
        generator = np.random.default_rng(share_seed)
        images, labels = augment(dataset.images(chosen), dataset.labels(chosen), generator)
        return to_tensor(images, device), torch.from_numpy(labels.astype(np.int64)).to(device)

    return prefetch(prepare, range(first, total))


def prefetch(prepare: Callable[[int], tuple[Tensor, Tensor]], steps: range) -> Generator[tuple[Tensor, Tensor]]:
    """Yield ``prepare(step)`` for all steps with the next two made ahead, in order, by one thread."""
    with ThreadPoolExecutor(1) as worker:
        ahead = iter(steps)
        waiting = deque(worker.submit(prepare, step) for step in islice(ahead, 2))
        while waiting:
            waiting.extend(worker.submit(prepare, step) for step in islice(ahead, 1))
            yield waiting.popleft().result()


def pixel_statistics(dataset: Dataset, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per band; of more than 4,000 training images every k-th, 2,000 at least."""
    chosen = rows[:: max(1, len(rows) // 2000)]
    sums, squares, count = np.zeros(dataset.shape[0]), np.zeros(dataset.shape[0]), 0
    for start in range(0, len(chosen), 64):
        images = dataset.images(chosen[start : start + 64].tolist())
        pixels = images.reshape(-1, images.shape[-1]).astype(np.float64) / (255.0 if images.dtype == np.uint8 else 1.0)
        sums, squares, count = sums + pixels.sum(0), squares + (pixels**2).sum(0), count + len(pixels)
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    return torch.from_numpy(mean), torch.from_numpy(deviation)
