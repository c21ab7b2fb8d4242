"""Find the groups of a data set: as given, or near-duplicates by perceptual hash."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import imagehash
import numpy as np
import platformdirs
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ensemble.core.errors import EnsError
from ensemble.core.files import atomic
from ensemble.core.progress import Progress, no_progress
from ensemble.data.dataset import Dataset

NEAR = 6  # of 64 bits; copies that were compressed, brightened or shifted by a pixel differ in at most this many
ALIKE = 0.9  # smallest correlation of the pixels of near-duplicates
BATCH = 64
BATCH_BYTES = 64 << 20
CHUNK = 512  # hashes compared with all others at once


def image_groups(dataset: Dataset, progress: Progress = no_progress) -> tuple[str, ...]:
    """Return the group of each image: as given with the data, otherwise near-duplicates share a group.

    Near-duplicates are images whose 64-bit perceptual hashes differ in at most 6 bits, linked transitively. Images
    without texture may have equal hashes by chance, so images are linked only if their pixels agree too.
    """
    if dataset.groups is not None:
        return dataset.groups
    pairs = near_duplicates(dataset, progress)
    return tuple(f"image-{index}" for index in linked(len(dataset.ids), pairs))


def near_duplicates(dataset: Dataset, progress: Progress = no_progress) -> list[tuple[int, int, float]]:
    """Return pairs of rows (the earlier first) whose hashes and pixels agree, with the correlation of their pixels."""
    hashes_n = perceptual_hashes(dataset, progress)
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(hashes_n), CHUNK):
        distance = np.bitwise_count(hashes_n[start : start + CHUNK, None] ^ hashes_n[None])
        for first, second in zip(*np.nonzero(distance <= NEAR), strict=True):
            one, other = int(first) + start, int(second)
            if one < other and (likeness := _likeness(dataset, one, other)) > ALIKE:
                pairs.append((one, other, likeness))
    return pairs


def linked(total: int, pairs: Sequence[tuple[int, int, float]]) -> NDArray[np.int32]:
    """Return the number of the set of each of ``total`` rows; the rows of every pair are in the same set."""
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    graph = coo_matrix((np.ones(len(pairs)), (first, second)), shape=(total, total))
    return connected_components(graph, directed=False)[1]


def _likeness(dataset: Dataset, first: int, second: int) -> float:
    """Return the correlation of the pixels of two images: 1 if they are equal, 0 if one of them is uniform."""
    a, b = (image.astype(np.float32).ravel() for image in dataset.images([first, second]))
    if np.array_equal(a, b):
        return 1.0
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 0 else 0.0


def batches(dataset: Dataset) -> Iterator[range]:
    """Yield the rows of the labelled images in order, at most 64 images and 64 MB of pixels at once."""
    size = max(1, min(BATCH, BATCH_BYTES // (4 * math.prod(dataset.shape))))
    total = len(dataset.ids)
    return (range(start, min(start + size, total)) for start in range(0, total, size))


def perceptual_hashes(dataset: Dataset, progress: Progress = no_progress) -> NDArray[np.uint64]:
    """Return the 64-bit perceptual hash (DCT, Zauner 2010) of every labelled image, cached by the hash of the data."""
    cache = platformdirs.user_cache_path("ens-toolkit") / f"phash-{dataset.data_hash}.npy"
    total = len(dataset.ids)
    try:
        with cache.open("rb") as stream:
            cached = np.lib.format.read_array(stream, allow_pickle=False)
        if cached.shape == (total,) and cached.dtype == np.uint64:
            return cached
    except (OSError, ValueError):
        pass  # the cache is absent or damaged, and is written again below
    hashes = np.zeros(total, np.uint64)
    for rows in batches(dataset):
        for row, image in zip(rows, dataset.images(rows), strict=True):
            grey = image.mean(-1) * (255.0 if image.dtype != np.uint8 else 1.0)
            bits = imagehash.phash(Image.fromarray(grey.astype(np.uint8))).hash.ravel()
            hashes[row] = np.packbits(bits).view(np.uint64)[0]
        progress("looking for near-duplicates", rows.stop, total)
    try:
        with atomic(cache) as stream:
            np.save(stream, hashes)
    except EnsError:
        pass  # the cache only saves time
    return hashes
