"""Choose the images of every batch of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble.core.component_text import parse_component
from ensemble.core.errors import EnsError
from ensemble.core.registry import Registry
from ensemble.data.rarest import rarest_class_overall


class Order(NamedTuple):
    """The images of an epoch, batch by batch: positions among the training images (steps, batch size).

    ``around``, of the same shape, says whose window holds a pixel of the rarest class; whole images hold it anyway.
    """

    positions: NDArray[np.int64]
    around: NDArray[np.bool_]


# (labelled pixels (n, k) of the training images, (steps, batch size), generator) -> the order of one epoch.
Sampler = Callable[[NDArray[np.int64], tuple[int, int], np.random.Generator], Order]

SAMPLERS: Registry[Sampler] = Registry("sampler")


@SAMPLERS.register("uniform")
def uniform() -> Sampler:
    """Each image or window at most once an epoch, in random order; those that do not fill a batch are left out."""

    def sample(counts_nk: NDArray[np.int64], shape: tuple[int, int], generator: np.random.Generator) -> Order:
        positions = generator.permutation(len(counts_nk))[: shape[0] * shape[1]].reshape(shape)
        return Order(positions, np.zeros(shape, bool))

    return sample


@SAMPLERS.register("rare")
def rare(*, per_batch: int = 3) -> Sampler:
    """Uniform order, but every batch holds at least ``per_batch`` images with the rarest class.

    If a batch has fewer of them, images chosen at random are replaced by images with the rarest class that are not in
    the batch: those used least in the epoch so far, with ties decided at random. No batch holds an image twice, so it
    has fewer than ``per_batch`` of them if there are fewer. The other images are still seen at most once an epoch;
    every epoch replaces different ones.

    Args:
        per_batch: minimum number of images with the rarest class in a batch, at least 1.
    """
    if per_batch < 1:
        raise EnsError(f"expected per_batch of 1 or more for the sampler 'rare', got {per_batch}; or use 'uniform'")
    start = uniform()

    def sample(counts_nk: NDArray[np.int64], shape: tuple[int, int], generator: np.random.Generator) -> Order:
        batches, around = start(counts_nk, shape, generator)
        is_rare = counts_nk[:, rarest_class_overall(counts_nk)] > 0
        used = np.bincount(batches.ravel(), minlength=len(counts_nk))
        for batch in batches:
            absent = np.setdiff1d(np.flatnonzero(is_rare), batch)
            places = np.flatnonzero(~is_rare[batch])
            wanted = min(per_batch - (len(batch) - len(places)), len(absent), len(places))
            if wanted > 0:
                least = np.lexsort((generator.random(len(absent)), used[absent]))[:wanted]
                batch[generator.choice(places, wanted, replace=False)] = absent[least]
                used[absent[least]] += 1
        around |= is_rare[batches] & (is_rare[batches].cumsum(1) <= per_batch)
        return Order(batches, around)

    return sample


def resolve_sampler(text: str) -> str:
    """Check the text of a sampler and return it with all options: ``rare`` becomes ``rare(per_batch=3)``.

    Raises:
        EnsError: when the form, a name, an option or a value is wrong.
    """
    call = parse_component(text, SAMPLERS)
    SAMPLERS.create(call.name, **call.options)
    return str(call)


def sampler_note(text: str, counts_nk: NDArray[np.int64], batch_size: int) -> str:
    """Return a sentence if a sampler asks for more images than a batch can hold; empty otherwise.

    Args:
        text: text of a sampler.
        counts_nk: labelled pixels (n, k) of the training rows.
        batch_size: images per batch.
    """
    wanted = parse_component(text, SAMPLERS).options.get("per_batch", 0)
    rare = int((counts_nk[:, rarest_class_overall(counts_nk)] > 0).sum())
    most = min(batch_size, rare)
    return f"at most {most} images with the rarest class per batch, not per_batch {wanted}" if wanted > most else ""


def build_sampler(text: str) -> Sampler:
    """Return the sampler of a text such as ``uniform`` or ``rare(per_batch=3)``."""
    call = parse_component(text, SAMPLERS)
    return SAMPLERS.create(call.name, **call.options)
