"""Check what is appended to a store: names of classes, ids, labels, and the strips of an image."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.void import VOID
from ensemble.runs.store.chunks import Size


def class_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes of a store.

    Raises:
        EnsError: there are none or too many, or two are the same.
    """
    names = tuple(str(each) for each in classes)
    if not 1 <= len(names) <= VOID or len(set(names)) != len(names):
        raise EnsError(f"expected 1 to {VOID} different class names, got {len(names)}: {', '.join(names[:8])}")
    return names


def check_ids(names: Sequence[str], known: Collection[str], expected: Sequence[str] | None) -> None:
    """Check the ids of a batch.

    Args:
        names: the ids.
        known: ids of the images that are in the store already.
        expected: all ids of the store in their order, or None for any.

    Raises:
        EnsError: an id is there twice, or is not the next one.
    """
    seen, done = set(known), len(known)
    for name in names:
        if name in seen:
            raise EnsError(f"image id '{name}' was given twice; give every image of a store a different id")
        seen.add(name)
    if expected is None:
        return
    wanted = tuple(expected[done : done + len(names)])
    if tuple(names) != wanted:
        pairs = enumerate(zip(names, wanted, strict=False))
        at = next((at for at, (name, want) in pairs if name != want), len(wanted))
        due = f"'{wanted[at]}'" if at < len(wanted) else "no more images"
        raise EnsError(
            f"expected {due} as image {done + at} of the split, got '{names[at]}'; append in the split's order"
        )


def checked_labels(labels_nhw: NDArray[np.integer], shape: tuple[int, ...], classes: int) -> NDArray[np.uint8]:
    """Return the labels of a batch as bytes.

    Args:
        labels_nhw: classes 0..classes-1, 255 where void.
        shape: (images, height, width) of the batch.
        classes: number of classes.

    Raises:
        EnsError: they have another shape, are no whole numbers, or are out of range.
    """
    if labels_nhw.shape != shape:
        raise EnsError(f"expected labels of shape {shape} (images, height, width), got {labels_nhw.shape}")
    if not np.issubdtype(labels_nhw.dtype, np.integer):
        raise EnsError(f"expected whole-number labels, got {labels_nhw.dtype}")
    wrong = labels_nhw[((labels_nhw < 0) | (labels_nhw >= classes)) & (labels_nhw != VOID)]
    if wrong.size:
        raise EnsError(
            f"expected labels 0..{classes - 1} or {VOID} for void, got {int(wrong[0])}; map the data set's ids first"
        )
    return labels_nhw.astype(np.uint8)


def checked_strips(
    strips: Iterable[NDArray[np.floating]], name: str, size: Size, classes: int
) -> Iterator[NDArray[np.floating]]:
    """Yield the strips of an image, probabilities (classes, rows, width) from top to bottom.

    Args:
        strips: the strips.
        name: id of the image.
        size: its height and width.
        classes: number of classes.

    Raises:
        EnsError: a strip has another shape, or together they have another height; when it is reached.
    """
    (height, width), top = size, 0
    for probs in strips:
        if probs.ndim != 3 or probs.shape[::2] != (classes, width) or top + probs.shape[1] > height:
            raise EnsError(
                f"expected strips of {classes} classes, {width} columns and {height} rows together for"
                f" '{name}', got the shape {probs.shape} after {top} rows"
            )
        yield probs
        top += probs.shape[1]
    if top != height:
        raise EnsError(f"expected strips of {height} rows together for '{name}', got {top} rows")
