"""Warn about intervals that rest on few groups of images, or on few groups that hold a class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Measured with planted truths (experiments/results/verdict-rates.csv): with fewer groups of images, or with fewer that
# hold a class, a 95 % interval of a difference misses the truth in clearly more than 5 % of the cases.
FEW_GROUPS, FEW_HOLDERS = 7, 20


def support_notes(confusions_nkk: NDArray[np.int64], groups: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each thing that makes intervals on these images less trustworthy.

    Args:
        confusions_nkk: confusion matrix of every image, a row per true class.
        groups: group of each image.
        classes: names of the classes.

    Returns:
        Sentences on too few groups, and on classes that none or too few groups hold.

    >>> support_notes(np.ones((8, 1, 1), np.int64), list("abcdefgh"), ["soil"])
    ()
    """
    notes: list[str] = []
    names_n = np.asarray(groups)
    if (total := len(set(groups))) < FEW_GROUPS:
        notes.append(f"Only {total} groups of images: intervals can be trusted from {FEW_GROUPS} on.")
    for k, name in enumerate(classes):
        pixels_n = confusions_nkk[:, k].sum(1)
        images, held = int((pixels_n > 0).sum()), len(np.unique(names_n[pixels_n > 0]))
        if not images:
            notes.append(f"'{name}' is in none of these images and has no score.")
        elif held < min(total, FEW_HOLDERS):
            top = min(5, images)
            share = np.sort(pixels_n)[-top:].sum() / pixels_n.sum()
            notes.append(
                f"'{name}' is in {_count(images, 'image')} of {_count(held, 'group')} only; {_count(top, 'image')}"
                f" hold{'s' if top == 1 else ''} {share:.0%} of its pixels."
                f" Differences in its IoU can be trusted from {FEW_HOLDERS} groups on."
            )
    return tuple(notes)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
