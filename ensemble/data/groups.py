"""Find the groups of a data set: as given, or near-duplicates by perceptual hash."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ensemble.core.cache import Cache
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.progress import Progress, no_progress
from ensemble.core.threads import in_threads
from ensemble.data.dataset import Dataset
from ensemble.data.description import check_group_pattern
from ensemble.data.formats.files import FileSource
from ensemble.data.formats.image_files import resize
from ensemble.data.formats.source import ArraySource, Source

NEAR = 6  # of 64 bits; copies that were compressed, brightened or shifted by a pixel differ in at most this many
ALIKE = 0.9  # smallest correlation of the pixels of near-duplicates
HASH_VERSION = 2  # of the hashes in the cache; a change of how they are made, or of imagehash, needs another
GROUPS_VERSION = 1  # of the groups in the cache; a change of NEAR, ALIKE or the hashes needs another
CHUNK = 512  # hashes compared with all others at once


def image_groups(dataset: Dataset, progress: Progress = no_progress) -> tuple[str, ...]:
    """Return the group of each image: as given with the data, otherwise near-duplicates share a group.

    Groups are remembered by the digest of the data. Near-duplicates are images whose 64-bit perceptual hashes differ in
    at most 6 bits, linked transitively. Images without texture may have equal hashes by chance, so images are linked
    only if their pixels agree too.
    """
    if dataset.groups is not None:
        return dataset.groups
    cache, total = Cache("groups", GROUPS_VERSION, dataset.source.fingerprint), len(dataset.ids)
    content = cache.read()
    if content is None or len(content) != 4 * total:
        content = linked(total, near_duplicates(dataset, progress)).astype("<i4").tobytes()
        cache.write(content)
    return tuple(f"image-{index}" for index in np.frombuffer(content, "<i4").tolist())


def image_sites(dataset: Dataset, pattern: str, progress: Progress = no_progress) -> tuple[str, ...]:
    """Return the site of each image; a site holds whole groups, and sites that share a group are one.

    Args:
        dataset: the data.
        pattern: regular expression with the site in brackets, for the names of groups, or of images where no groups are
            given.
        progress: callback that receives the progress.

    Raises:
        EnsError: the pattern has another form, fits no name, or leaves all images in one site.
    """
    check_group_pattern(pattern, "site", "site")
    groups, names = image_groups(dataset, progress), dataset.groups or dataset.ids
    if not any(re.search(pattern, name) for name in names):
        raise EnsError(
            f"expected a pattern that fits names of {'images' if dataset.groups is None else 'groups'}, such as"
            f" '{names[0]}', got {pattern}; change site"
        )
    sites = groups_by_name(pattern, names)
    pairs = [(first, row, 1.0) for each in (groups, sites) for first, row in _successive(each)]
    parts = linked(len(sites), pairs)
    if len(set(groups)) > 1 and not parts.any():
        raise EnsError(
            f"expected a pattern that leaves several sites, got {pattern}: it gives {_first_sites(names, sites)};"
            " change site"
        )
    first: dict[int, str] = {}
    return tuple(first.setdefault(int(part), site) for part, site in zip(parts, sites, strict=True))


def _first_sites(names: Sequence[str], sites: Sequence[str]) -> str:
    """Return the site of the first name, and that of a name of another site if there is one, as part of a sentence."""
    other = next((row for row, site in enumerate(sites) if site != sites[0]), None)
    first = f"'{names[0]}' the site '{sites[0]}'"
    if other is None:
        return f"{first}, as it does all other names"
    return f"{first} and '{names[other]}' the site '{sites[other]}', but near-duplicates join all sites"


def _successive(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of rows of which the second is the next one with the same name."""
    last: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for row, name in enumerate(names):
        if name in last:
            pairs.append((last[name], row))
        last[name] = row
    return pairs


def groups_of_tests(dataset: Dataset, progress: Progress = no_progress) -> tuple[str, ...]:
    """Return the group of each test image: by the pattern of names, otherwise near-duplicates share a group."""
    source = dataset.source
    if isinstance(source, FileSource) and (pattern := source.description.group_pattern):
        return groups_by_name(pattern, dataset.test_ids)
    return copies_of_tests(dataset, progress)


def groups_by_name(pattern: str, ids: Sequence[str]) -> tuple[str, ...]:
    """Return the group of each image by the pattern of names; an image whose name does not fit is alone.

    >>> groups_by_name("^([^_]+)_", ["berlin_1", "berlin_2", "extra"])
    ('berlin', 'berlin', 'extra')
    """
    found = [re.search(pattern, name) for name in ids]
    return tuple(one[1] if one else name for one, name in zip(found, ids, strict=True))


def copies_of_tests(dataset: Dataset, progress: Progress = no_progress) -> tuple[str, ...]:
    """Return a name for each test image that it shares with its near-duplicates."""
    source = dataset.source
    changes: dict[str, Any] = {"groups": None, "parts": None, "fingerprint": digest(source.fingerprint, "test")}
    if isinstance(source, FileSource):
        tests: Source = replace(
            source, labelled=source.test, test=(), sizes=source.test_sizes, test_sizes=(), **changes
        )
    else:
        assert isinstance(source, ArraySource), "there is no other source with test images"
        tests = replace(source, images_nhwc=source.test_nhwc, ids=source.test_ids, **changes)
    return image_groups(replace(dataset, source=tests), progress)


def near_duplicates(dataset: Dataset, progress: Progress = no_progress) -> list[tuple[int, int, float]]:
    """Return pairs of rows (the earlier first) whose hashes and pixels agree, with the correlation of their pixels."""
    return alike(perceptual_hashes(dataset, progress), dataset.image)


def alike(hashes_n: NDArray[np.uint64], image: Callable[[int], NDArray[np.generic]]) -> list[tuple[int, int, float]]:
    """Return what `near_duplicates` returns, of any images.

    Args:
        hashes_n: perceptual hash of each image.
        image: function from the row of an image to its pixels (h, w, bands).
    """
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(hashes_n), CHUNK):
        distance = np.bitwise_count(hashes_n[start : start + CHUNK, None] ^ hashes_n[None])
        for first, second in zip(*np.nonzero(distance <= NEAR), strict=True):
            one, other = int(first) + start, int(second)
            if one < other and (likeness := _likeness(image(one), image(other))) > ALIKE:
                pairs.append((one, other, likeness))
    return pairs


def linked(total: int, pairs: Sequence[tuple[int, int, float]]) -> NDArray[np.int32]:
    """Return the number of the set of each of ``total`` rows; the rows of every pair are in the same set."""
    from scipy.sparse import coo_matrix  # noqa: PLC0415  (groups are remembered, so few commands need it)
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    graph = coo_matrix((np.ones(len(pairs)), (first, second)), shape=(total, total))
    return connected_components(graph, directed=False)[1]


def _likeness(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Return the correlation of the pixels of two images: 1 if they are equal, 0 if one of them is uniform.

    If their sizes differ, the second one is resized.
    """
    if one.shape != other.shape:
        other = resize(other, one.shape[:2], cv2.INTER_AREA)
    a, b = one.astype(np.float32).ravel(), other.astype(np.float32).ravel()
    if np.array_equal(a, b):
        return 1.0
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 0 else 0.0


def perceptual_hashes(dataset: Dataset, progress: Progress = no_progress) -> NDArray[np.uint64]:
    """Return the perceptual hash of every labelled image, cached by the hash of the data."""
    cache, total = Cache("phash", HASH_VERSION, dataset.source.fingerprint), len(dataset.ids)
    content = cache.read()
    if content is not None and len(content) == 8 * total:
        return np.frombuffer(content, "<u8").astype(np.uint64)
    hashes = np.zeros(total, np.uint64)
    for rows in dataset.batches():
        for row, image in zip(rows, in_threads(dataset.image, rows), strict=True):
            hashes[row] = perceptual_hash(image)
        progress("looking for near-duplicates", rows.stop, total)
    cache.write(hashes.astype("<u8").tobytes())
    return hashes


def perceptual_hash(image_hwc: NDArray[np.generic]) -> np.uint64:
    """Return the 64-bit perceptual hash (DCT, Zauner 2010) of an image: uint8, or float32 in 0..1."""
    import imagehash  # noqa: PLC0415  (groups are remembered, so few commands need it)

    grey = image_hwc.mean(-1) * (255.0 if image_hwc.dtype != np.uint8 else 1.0)
    bits = imagehash.phash(Image.fromarray(grey.astype(np.uint8))).hash.ravel()
    return np.packbits(bits).view("<u8")[0]
