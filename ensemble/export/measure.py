"""Compare a graph with the networks that it replaces: probabilities, scores, and time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ensemble.core.progress import Progress, no_progress
from ensemble.data.formats.pixels import scaled
from ensemble.evaluation.confusion import confusion_per_image
from ensemble.evaluation.paired import Comparison, Draws
from ensemble.export.own_images import OwnImages
from ensemble.inference.predictor import Predictor

Run = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[Any]]]
"""A function from images (n, h, w, bands) to their probabilities (n, classes, h, w) and ids (n, h, w)."""

PARITY_SIDE = 512  # pixels of a side of the images that are compared
PARITY_IMAGES = 4
SECONDS = 1.0  # for the repetitions of a measurement of time
REPEATS = 9
ROUNDS = 2


@dataclass(frozen=True)
class Parity:
    """How far a graph is from the networks.

    Attributes:
        largest: largest difference of a probability; NaN if the graph gives numbers that are not finite.
        pixels: share of the pixels whose class differs.
        sizes: height and width of the images.
    """

    largest: float
    pixels: float
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Change:
    """Mean IoU of the graph and of the networks on validation images, and the paired difference."""

    graph: float
    networks: float
    difference: Comparison
    images: int
    groups: int


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one image: the shortest of some repetitions in turn, which other work slows least."""

    threads: int
    graph: float
    networks: float

    @property
    def ratio(self) -> float:
        """Time of the graph as a multiple of that of the networks."""
        return self.graph / self.networks


def networks_of(predictor: Predictor) -> Run:
    """Return the networks of a model in float32, as they predict an image that is not cut into tiles."""
    members = [
        replace(member, settings=member.settings.model_copy(update={"precision": "fp32"}))
        for member in predictor.networks.members
    ]

    def run(images_nhwc: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        unit_nhwc = scaled(images_nhwc, predictor.facts.span)
        probs_nchw = predictor.pool(np.stack([member.whole(unit_nhwc) for member in members]))
        return probs_nchw, predictor.ids(predictor.pool.decide_pixels(probs_nchw))

    return run


def three_sizes(images: OwnImages) -> Iterator[NDArray[np.float32]]:
    """Yield batches of validation images: whole, cut to odd sides, and enlarged by a half."""
    places = np.linspace(0, len(images.held_out) - 1, min(PARITY_IMAGES, len(images.held_out))).round()
    for place in np.unique(places.astype(int)).tolist():
        image = images.image(images.held_out[place])[:PARITY_SIDE, :PARITY_SIDE]
        height, width = image.shape[:2]
        yield image[None]
        cut = image[: height * 2 // 3 | 1, : width * 3 // 5 | 1]
        yield np.stack([cut, cut[::-1]])
        rows, columns = (np.arange(side * 3 // 2) * 2 // 3 for side in (height, width))
        yield image[rows][:, columns][None]


def compare(graph: Run, networks: Run, batches: Iterable[NDArray[np.float32]]) -> Parity:
    """Return how far a graph is from the networks on some images."""
    largest, other, pixels, sizes = 0.0, 0, 0, list[tuple[int, int]]()
    for batch_nhwc in batches:
        (probs, ids), (expected, expected_ids) = graph(batch_nhwc), networks(batch_nhwc)
        largest = max(largest, float(np.abs(probs - expected).max())) if np.isfinite(probs).all() else np.nan
        other, pixels = other + int((ids != expected_ids).sum()), pixels + ids.size
        sizes.append((int(batch_nhwc.shape[1]), int(batch_nhwc.shape[2])))
        if np.isnan(largest):
            break
    return Parity(largest, other / max(pixels, 1), tuple(dict.fromkeys(sizes)))


def change_of_score(
    graph: Run, networks: Run, images: OwnImages, values: Iterable[int], progress: Progress = no_progress
) -> Change:
    """Return the mean IoU of a graph and of the networks on all validation images, with the paired difference."""
    ids_k = list(values)
    channel_of = np.zeros(max(ids_k) + 1, np.intp)
    channel_of[ids_k] = np.arange(len(ids_k))
    tables = list[NDArray[np.int64]]()
    for place, row in enumerate(images.held_out):
        image, labels = images.image(row)[None], images.label(row)[None]
        both = [channel_of[run(image)[1]] for run in (graph, networks)]
        tables.append(np.stack([confusion_per_image(labels, decided, len(ids_k))[0] for decided in both]))
        progress("measuring mIoU", place + 1, len(images.held_out))
    groups = [images.groups[row] for row in images.held_out]
    draws, tables_n2kk = Draws.of(groups), np.stack(tables)
    mine, theirs = draws.iou(tables_n2kk[:, 0]), draws.iou(tables_n2kk[:, 1])
    difference = mine.minus(theirs).comparison()
    return Change(float(mine.whole_c[0]), float(theirs.whole_c[0]), difference, len(groups), len(set(groups)))


def latencies(open_graph: Callable[[int], Run], networks: Run, image_hwc: NDArray[np.float32]) -> tuple[Latency, ...]:
    """Return the time for one image with one thread, and with two where there are two cores.

    Graph and networks are timed in turn, but a graph is closed before the networks run: its waiting threads would take
    the processor from torch's.
    """
    threads_before, found, batch_nhwc = torch.get_num_threads(), list[Latency](), image_hwc[None]
    try:
        for threads in (1, 2)[: os.cpu_count() or 1]:
            torch.set_num_threads(threads)
            rounds = [
                (_shortest(open_graph(threads), batch_nhwc), _shortest(networks, batch_nhwc)) for _ in range(ROUNDS)
            ]
            graph, own = (1000 * min(each) for each in zip(*rounds, strict=True))
            found.append(Latency(threads, graph, own))
    finally:
        torch.set_num_threads(threads_before)
    return tuple(found)


def _shortest(run: Run, batch_nhwc: NDArray[np.float32]) -> float:
    """Return the seconds of the fastest of some repetitions."""
    run(batch_nhwc)  # the first call prepares
    times, until = list[float](), time.perf_counter() + SECONDS
    for _ in range(REPEATS):
        start = time.perf_counter()
        run(batch_nhwc)
        times.append(time.perf_counter() - start)
        if time.perf_counter() > until:
            break
    return min(times)
