"""Line up members for combining: the same images in the same order, and the classes that they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import TINY, normalised
from ensemble.core.errors import EnsError
from ensemble.core.threads import ahead
from ensemble.evaluation.strips import PredictedBatch
from ensemble.evaluation.void import VOID
from ensemble.runs.member import Member
from ensemble.runs.store import Reader, Store, decode, parts_of

BATCH_BYTES = 10 << 20  # of probabilities in a batch: they stay in the cache, and images of any size fit the memory
KEPT_BYTES = 256 << 20  # of stores that are unpacked once instead of in every pass
HALO = 1  # rows around a strip: stacking looks at 3x3 pixels


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

    @property
    def sizes(self) -> Sequence[tuple[int, int]]:
        """Height and width of each image."""
        return self.stores[0].sizes

    def batches(self, size: int | None = None, halo: int = HALO) -> Iterator[PredictedBatch]:
        """Yield probabilities and labels of images of one size, or of a strip of a large image, in bounded memory.

        A batch has at most ``BATCH_BYTES`` of probabilities. A strip comes with the rows next to it, because a pool may
        look at the neighbours of a pixel. Images without labels are void.

        Args:
            size: largest number of images per batch.
            halo: rows next to a strip, see `Combiner.reach`.
        """
        return ahead(self._read(range(len(self.ids)), size, halo))

    def images(self, rows: Iterable[int], halo: int = HALO) -> Iterator[PredictedBatch]:
        """Yield what `batches` yields for some images, in ascending order and each alone."""
        return ahead(self._read(rows, 1, halo))

    def _read(self, images: Iterable[int], size: int | None, halo: int) -> Iterator[PredictedBatch]:
        relabel = np.full(256, VOID, np.uint8)
        relabel[list(self.channels[0])] = np.arange(len(self.classes))
        readers = self._kept_readers or [store.reader() for store in self.stores]
        pixels = BATCH_BYTES // (4 * self.members * len(self.classes))
        for part in parts_of(self.sizes, images, pixels=pixels, most=size, halo=halo):
            shape = self.members, len(part.images), len(self.classes), part.last - part.first, part.size[1]
            probs_mnchw, labels_nhw = np.empty(shape, np.float32), None
            for probs_nchw, reader, channels in zip(probs_mnchw, readers, self.channels, strict=True):
                codes, labels = reader.read(part)
                labels_nhw = labels if labels_nhw is None else labels_nhw
                if channels == tuple(range(codes.shape[1])):
                    decode(codes, out=probs_nchw)
                else:
                    probs_nchw[:] = select(decode(codes), channels)
            if labels_nhw is None:  # stores of test images hold no labels
                labels_nhw = np.full((len(part.images), part.bottom - part.top, part.size[1]), VOID, np.uint8)
            rows = slice(part.images[0], part.images[-1] + 1)
            yield PredictedBatch(rows, probs_mnchw, relabel[labels_nhw], part.inside, part.strip)

    @cached_property
    def _kept_readers(self) -> list[Reader]:
        """Readers that keep what they have read for the next pass; none if this would take more than ``KEPT_BYTES``."""
        pixels = sum(height * width for height, width in self.sizes)
        if pixels * sum(len(store.classes) + 1 for store in self.stores) > KEPT_BYTES:
            return []
        return [store.reader(keep=True) for store in self.stores]


def select(probs_nchw: NDArray[np.float32], channels: Sequence[int]) -> NDArray[np.float32]:
    """Return some channels, renormalised to sum 1; if these are all channels in order, return them unchanged.

    `ensemble.inference.network.scored` does the same for tensors; the two round differently in the last digit.
    """
    if list(channels) == list(range(probs_nchw.shape[1])):
        return probs_nchw
    return normalised(np.maximum(probs_nchw[:, list(channels)], TINY))


def align(members: Sequence[Member], split: str = "validation", only: Sequence[str] = ()) -> Aligned:
    """Check that members can be combined, and line up their stores.

    If some members have a background channel and others have none, the classes that all of them score are combined.

    Args:
        members: the members.
        split: ``validation`` or ``test``.
        only: see `shared_classes`.

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
        if store.ids != stores[0].ids or store.sizes != stores[0].sizes:
            what = "other images than" if store.ids != stores[0].ids else "images of other sizes than"
            raise EnsError(f"{member.name} stores {what} {first.name}; train one of the two again")
    classes, channels = shared_classes(members, only)
    return Aligned(tuple(member.name for member in members), tuple(stores), classes, channels)


def shared_classes(
    members: Sequence[Member], only: Sequence[str] = ()
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Return the classes that every member scores, and their channels; only a background (id 0) may be missing.

    Args:
        members: the members.
        only: names of the classes, if these are some of the members of an ensemble: it has no background if any of its
            members has none, also one that predicting does not need. By default all that these members share.

    Raises:
        EnsError: a member scores another class, or names one otherwise.
    """
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
    values = [value for value in values if not only or facts.classes[facts.values.index(value)] in only]
    classes = tuple(facts.classes[facts.values.index(value)] for value in values)
    return classes, tuple(tuple(member.facts.values.index(value) for value in values) for member in members)
