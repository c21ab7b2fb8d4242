"""Line up members for combining: the same images in the same order, and the classes that they share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import TINY, normalised
from ensemble.core.errors import EnsError
from ensemble.evaluation.void import VOID
from ensemble.runs.member import Member
from ensemble.runs.store import Store, decode

BATCH_BYTES = 10 << 20  # of probabilities in a batch: they stay in the cache, and images of any size fit the memory


@dataclass(frozen=True)
class Aligned:
    """Stores of several members that hold the same images in the same order.

    Attributes:
        names: names of the members.
        stores: stores of the members, all of one split.
        classes: scored classes that the members share, in channel order.
        channels: channels of ``classes`` in each member.
    """

    names: tuple[str, ...]
    stores: tuple[Store, ...]
    classes: tuple[str, ...]
    channels: tuple[tuple[int, ...], ...]

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self.stores)

    @property
    def ids(self) -> Sequence[str]:
        """Image ids."""
        return self.stores[0].ids

    @property
    def groups(self) -> Sequence[str]:
        """Group of each image."""
        return self.stores[0].groups

    def batches(self, size: int | None = None) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.uint8]]]:
        """Yield rows, probabilities (m, n, c, h, w) and labels (n, h, w), void 255, in bounded memory.

        Args:
            size: images per batch; by default as many as fit into ``BATCH_BYTES``.
        """
        image = (len(self.classes), self.stores[0].height, self.stores[0].width)
        if size is None:
            size = max(1, BATCH_BYTES // (4 * len(self.stores) * math.prod(image)))
        readers = [store.codes_batches(size) for store in self.stores]
        relabel = np.full(256, VOID, np.uint8)
        relabel[list(self.channels[0])] = np.arange(len(self.classes))
        start = 0
        for parts in zip(*readers, strict=True):
            labels = parts[0][2]
            assert labels is not None
            probs_mnchw = np.empty((len(parts), len(labels), *image), np.float32)
            for probs_nchw, (_, codes, _), channels in zip(probs_mnchw, parts, self.channels, strict=True):
                if channels == tuple(range(codes.shape[1])):
                    decode(codes, out=probs_nchw)
                else:
                    probs_nchw[:] = select(decode(codes), channels)
            yield slice(start, start + len(labels)), probs_mnchw, relabel[labels]
            start += len(labels)


def select(probs_nchw: NDArray[np.float32], channels: Sequence[int]) -> NDArray[np.float32]:
    """Return some channels, renormalised to sum 1; if these are all channels in order, return them unchanged.

    `ensemble.inference.network.scored` does the same for tensors; the two round differently in the last digit.
    """
    if list(channels) == list(range(probs_nchw.shape[1])):
        return probs_nchw
    return normalised(np.maximum(probs_nchw[:, list(channels)], TINY))


def align(members: Sequence[Member], split: str = "validation") -> Aligned:
    """Check that members can be combined, and line up their stores.

    If some members have a background channel and others have none, the classes that all of them score are combined.

    Args:
        members: the members.
        split: ``validation`` or ``test``.

    Raises:
        EnsError: members of different data, splits or classes; damaged or missing stores.
    """
    first, stores = members[0], [member.store(split) for member in members]
    for member, store in zip(members, stores, strict=True):
        for part, mine, theirs in (
            ("data", member.facts.data_hash, first.facts.data_hash),
            ("split", member.facts.split_hash, first.facts.split_hash),
            ("split", store.split_hash, stores[0].split_hash),
        ):
            if mine != theirs:
                raise EnsError(
                    f"{member.name} was trained on another {part} than {first.name}; combine members with the same"
                    " data, folds, validation share and split seed"
                )
        if list(store.ids) != list(stores[0].ids):
            raise EnsError(f"{member.name} stores other images than {first.name}; train one of the two again")
    classes, channels = _shared_classes(members)
    return Aligned(tuple(member.name for member in members), tuple(stores), classes, channels)


def _shared_classes(members: Sequence[Member]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Return the classes that every member scores, and their channels; only a background (id 0) may be missing."""
    common = set[int].intersection(*(set(member.facts.values) for member in members))
    for member in members:
        extra = [value for value in member.facts.values if value not in common and value != 0]
        if extra:
            raise EnsError(
                f"{member.name} scores the class with id {extra[0]}, but another member does not; combine members with"
                " the same classes"
            )
    values = [value for value in members[0].facts.values if value in common]
    for one, other in pairwise(members):
        for value in values:
            names = [m.facts.classes[m.facts.values.index(value)] for m in (one, other)]
            if names[0] != names[1]:
                raise EnsError(
                    f"class {value} is '{names[0]}' in {one.name} but '{names[1]}' in {other.name}; combine members"
                    " with the same class names"
                )
    facts = members[0].facts
    classes = tuple(facts.classes[facts.values.index(value)] for value in values)
    return classes, tuple(tuple(member.facts.values.index(value) for value in values) for member in members)
