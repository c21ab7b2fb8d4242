"""What combining may look at: the members' stored probabilities of the same images, aligned and void-free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ensemble.errors import EnsError
from ensemble.evaluation.void import VOID
from ensemble.members import Member
from ensemble.probabilities import Store
from ensemble.progress import Tick, silent

BATCH = 32
FIT_PIXELS = 2_000_000  # weights are fitted on at most this many labelled pixels: a few numbers need no more


@dataclass(frozen=True)
class Aligned:
    """Stores of several members that hold the same images in the same order.

    Attributes:
        names: the members' names.
        stores: their stores, all of one split.
        classes: the scored classes they share, in channel order.
        channels: for each member the channels of ``classes``.
    """

    names: tuple[str, ...]
    stores: tuple[Store, ...]
    classes: tuple[str, ...]
    channels: tuple[tuple[int, ...], ...]

    @property
    def ids(self) -> Sequence[str]:
        """Image ids."""
        return self.stores[0].ids

    @property
    def groups(self) -> Sequence[str]:
        """Group of each image."""
        return self.stores[0].groups

    def batches(self, size: int = BATCH) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.uint8]]]:
        """Rows, probabilities (m, n, c, h, w) and labels (n, h, w) with void 255, in bounded memory."""
        readers = [store.batches(size) for store in self.stores]
        relabel = np.full(256, VOID, np.uint8)
        relabel[list(self.channels[0])] = np.arange(len(self.classes))
        start = 0
        for parts in zip(*readers, strict=True):
            probs = [select(part[1], channels) for part, channels in zip(parts, self.channels, strict=True)]
            labels = parts[0][2]
            assert labels is not None
            yield slice(start, start + len(labels)), np.stack(probs), relabel[labels]
            start += len(labels)


def select(probs_nchw: NDArray[np.float32], channels: Sequence[int]) -> NDArray[np.float32]:
    """Some channels, renormalised to sum 1; all of them in order are returned as they are."""
    if list(channels) == list(range(probs_nchw.shape[1])):
        return probs_nchw
    kept = np.maximum(probs_nchw[:, list(channels)], np.float32(1e-12))
    return kept / kept.sum(1, keepdims=True)


def align(members: Sequence[Member], split: str = "validation") -> Aligned:
    """Check that members can be combined and line up their stores.

    Members with and without a background channel meet in the classes they share.

    Raises:
        EnsError: members of different data, splits or classes, named; damaged or missing stores.
    """
    first, stores = members[0], [member.store(split) for member in members]
    for member, store in zip(members, stores, strict=True):
        for what, mine, theirs in (
            ("data", member.facts.data_hash, first.facts.data_hash),
            ("split", member.facts.split_hash, first.facts.split_hash),
            ("split", store.split_hash, stores[0].split_hash),
        ):
            if mine != theirs:
                raise EnsError(
                    f"{member.name} was trained on another {what} than {first.name}; expected members of the same"
                    " data, folds, validation share and split seed, so combine those that agree"
                )
        if list(store.ids) != list(stores[0].ids):
            raise EnsError(f"{member.name} holds other images than {first.name}; train one of them again")
    classes, channels = _shared_classes(members)
    return Aligned(tuple(member.name for member in members), tuple(stores), classes, channels)


def _shared_classes(members: Sequence[Member]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Classes by the data set's own id that every member scores; only a background (id 0) may be missing in some."""
    common = set[int].intersection(*(set(member.facts.values) for member in members))
    for member in members:
        extra = [value for value in member.facts.values if value not in common and value != 0]
        if extra:
            raise EnsError(
                f"{member.name} scores the class with id {extra[0]}, another member does not; expected the same classes"
            )
    values = [value for value in members[0].facts.values if value in common]
    for one, other in pairwise(members):
        for value in values:
            names = [m.facts.classes[m.facts.values.index(value)] for m in (one, other)]
            if names[0] != names[1]:
                raise EnsError(f"class {value} is '{names[0]}' in {one.name} but '{names[1]}' in {other.name}")
    facts = members[0].facts
    classes = tuple(facts.classes[facts.values.index(value)] for value in values)
    return classes, tuple(tuple(member.facts.values.index(value) for value in values) for member in members)


@dataclass(frozen=True)
class Evidence:
    """Probabilities of the true class at labelled pixels: all that weights are fitted on.

    Attributes:
        true_probs_pm: (pixels, members) float32.
        image_p: image of each pixel.
        labels_p: true class of each pixel.
        classes: number of classes.
    """

    true_probs_pm: NDArray[np.float32]
    image_p: NDArray[np.int32]
    labels_p: NDArray[np.uint8]
    classes: int

    @cached_property
    def members(self) -> int:
        """Number of members."""
        return self.true_probs_pm.shape[1]

    def of_images(self, chosen_n: NDArray[np.bool_]) -> Evidence:
        """The evidence of some images only."""
        keep = chosen_n[self.image_p]
        return Evidence(self.true_probs_pm[keep], self.image_p[keep], self.labels_p[keep], self.classes)


def gather_evidence(aligned: Aligned, tick: Tick = silent) -> Evidence:
    """Read the members' probabilities of the true class, at most ``FIT_PIXELS`` evenly over the labelled pixels."""
    stores = aligned.stores
    total = len(aligned.ids)
    pixels = total * stores[0].height * stores[0].width
    step = max(1, -(-pixels // FIT_PIXELS))
    parts: list[tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.uint8]]] = []
    seen = 0
    for rows, probs_mnchw, labels_nhw in aligned.batches():
        image, y, x = np.nonzero(labels_nhw != VOID)
        # Every step-th labelled pixel, counted on across batches, so that the batch size changes nothing.
        chosen = slice((-seen) % step, None, step)
        seen += len(image)
        image, y, x = image[chosen], y[chosen], x[chosen]
        labels = labels_nhw[image, y, x]
        parts.append((probs_mnchw[:, image, labels, y, x].T, (image + rows.start).astype(np.int32), labels))
        tick("reading probabilities", rows.stop, total)
    if not seen:
        raise EnsError("expected labelled pixels to fit and score on, got void only; combine members of labelled data")
    probs = np.ascontiguousarray(np.concatenate([part[0] for part in parts]))
    images, labels = np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])
    return Evidence(probs, images, labels, len(aligned.classes))
