"""Decide whether there are enough groups of images for a statement, and warn about classes that few groups hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble.core.formatting import counted

ENOUGH_GROUPS = 10
"""Groups of images from which intervals of differences hold (measured: experiments/results/verdict-rates.csv)."""

FEW_HOLDERS = 20
"""Groups that hold a class, below which a 95 % interval of a difference in its IoU misses clearly more than 5 %."""


RARE = "~"
"""Mark of the difference in IoU of a class that few groups hold; see `few_hold`."""

RARE_MISSES = 0.23
"""Share of 95 % intervals of such differences that miss the truth, at most (measured: the same file)."""

RARE_NOTE = (
    f"{RARE} fewer than {FEW_HOLDERS} groups hold the class: intervals of such a difference miss the truth in up to"
    f" {RARE_MISSES:.0%} of the cases, not 5%"
)


def too_few_groups(groups: int) -> str:
    """Return why this number of independent groups of images proves nothing, and what to do; empty if it is enough.

    It decides for every statement that one system is better than another: verdict, report, comparison and table.

    >>> too_few_groups(2)[:69]
    'Too few independent groups of images to tell: 2, and at least 10 are '
    """
    if groups >= ENOUGH_GROUPS:
        return ""
    return (
        f"Too few independent groups of images to tell: {groups}, and at least {ENOUGH_GROUPS} are needed. Hold out"
        " more scenes (more data, or a larger val_fraction), or name finer groups if images of one group are"
        " independent."
    )


def no_interval(groups: int) -> str:
    """Return what stands in place of the interval of a score on this number of groups; empty if they are enough.

    >>> no_interval(2), no_interval(10)
    ('2 groups: no interval can be trusted', '')
    """
    return "" if groups >= ENOUGH_GROUPS else f"{counted(groups, 'group')}: no interval can be trusted"


def few_hold(holders: int, groups: int) -> bool:
    """Return whether so few of the groups hold a class that intervals of differences in its IoU miss too often.

    With too few groups in all there are no intervals, and a class that no group holds has no IoU.

    >>> few_hold(6, 30), few_hold(20, 30), few_hold(15, 15), few_hold(6, 9), few_hold(0, 30)
    (True, False, False, False, False)
    """
    return ENOUGH_GROUPS <= groups > holders < FEW_HOLDERS and holders > 0


def few_holders(confusions_nkp: NDArray[np.int64], groups: Sequence[str]) -> list[bool]:
    """Return for each class whether few groups hold it, from confusion matrices per image; see `few_hold`."""
    names_n, total = np.asarray(groups), len(set(groups))
    held_nk = confusions_nkp.sum(2) > 0
    return [few_hold(len(np.unique(names_n[held_n])), total) for held_n in held_nk.T]


def support_notes(confusions_nkk: NDArray[np.int64], groups: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """Return notes on the classes whose differences on these images are not to be trusted.

    Args:
        confusions_nkk: confusion matrix of every image, a row per true class.
        groups: group of each image.
        classes: names of the classes.

    Returns:
        A sentence on each class that no image holds, and one note on all classes that too few groups hold.

    >>> support_notes(np.ones((8, 1, 1), np.int64), list("abcdefgh"), ["soil"])
    ()
    """
    notes: list[str] = []
    rare: list[str] = []
    names_n = np.asarray(groups)
    total = len(set(groups))
    for k, name in enumerate(classes):
        pixels_n = confusions_nkk[:, k].sum(1)
        images, held = int((pixels_n > 0).sum()), len(np.unique(names_n[pixels_n > 0]))
        if not images:
            notes.append(f"'{name}' is in none of these images and has no score.")
        elif held < min(total, FEW_HOLDERS):
            top = min(5, images)
            share = np.sort(pixels_n)[-top:].sum() / pixels_n.sum()
            rare.append(
                f"'{name}' is in {counted(images, 'image')} of {counted(held, 'group')} only"
                f" ({counted(top, 'image')} hold{'s' if top == 1 else ''} {share:.0%} of its pixels)"
            )
    return (*notes, _few_holders(rare, total)) if rare else tuple(notes)


def _few_holders(rare: Sequence[str], groups: int) -> str:
    """Return one note on the classes that few groups hold, and on why the mIoU may still be compared."""
    which = ", ".join(rare)
    note = f"{which}. Do not trust differences in the IoU of a single class before {FEW_HOLDERS} groups hold it"
    if groups < ENOUGH_GROUPS:
        return f"{note}."
    return f"{note}; intervals of the mIoU hold, because they take the few groups into account (measured)."
