"""Batches of one epoch: shuffled, augmented and prepared by a thread while the network computes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensemble.data import Dataset
from ensemble.files import digest
from ensemble.networks import to_tensor


def derive_seed(*parts: object) -> int:
    """A 31-bit seed that is a function of ``parts``: all randomness of an epoch comes from (seed, fold, epoch)."""
    return int(digest(*(str(part) for part in parts))[:8], 16) >> 1


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Full batches only: a smaller last batch would have noisier BatchNorm statistics."""
    return max(1, rows // batch_size)


def epoch_batches(
    dataset: Dataset, rows: NDArray[np.int64], batch_size: int, augmentation: str, seed: int, device: str
) -> Generator[tuple[Tensor, Tensor]]:
    """Images (n, c, h, w) in 0..1 and labels (n, h, w) of one pass over ``rows``, in an order drawn from ``seed``."""
    from ensemble.data.augmentation import build_augmentation  # noqa: PLC0415  (albumentations takes a second)

    order = np.random.default_rng(seed).permutation(rows)
    augment = build_augmentation(augmentation, seed)

    def prepare(step: int) -> tuple[Tensor, Tensor]:
        chosen = order[step * batch_size : (step + 1) * batch_size].tolist()
        images, labels = augment(dataset.images(chosen), dataset.labels(chosen))
        return to_tensor(images, device), torch.from_numpy(labels).long().to(device)

    return prefetch(prepare, steps_per_epoch(len(rows), batch_size))


def prefetch(prepare: Callable[[int], tuple[Tensor, Tensor]], total: int) -> Generator[tuple[Tensor, Tensor]]:
    """Yield ``prepare(0), prepare(1), ...`` with the next two made ahead, in order, by one thread."""
    with ThreadPoolExecutor(1) as worker:
        waiting = [worker.submit(prepare, step) for step in range(min(2, total))]
        for step in range(total):
            if step + 2 < total:
                waiting.append(worker.submit(prepare, step + 2))
            yield waiting.pop(0).result()


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
