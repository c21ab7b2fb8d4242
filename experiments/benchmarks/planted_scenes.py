"""Populations of images whose truth is planted, for the benchmarks of verdicts, intervals and advice.

Many thousand groups of images, with confusion matrices of two or more systems, are made at once, and what is true is
read off them exactly. No image is needed. All systems see the same scenes, whose difficulty is shared by the images of
a group and by the pixels of an image. Class "rock" is in few of the images, and a few of these hold most of its pixels.
"twins" differ by chance only; "blind" are twins that find nearly no rock; of the "unlike" pair one is bold about rock
(more found, more false) and prefers soil to sand. For these, one parameter for all classes and one for rock are solved
for, so that mean IoU and IoU of rock both differ by the planted truth. In "one blind" one of two twins finds nearly no
rock, in "one sharp" one finds far more of it than the other: their truth is as it comes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import root
from scipy.special import expit

from ensemble.evaluation.confusion import class_counts, iou_of

Floats = NDArray[np.float64]
CLASSES, ROCK = 4, 3
IMAGES_PER_GROUP = 3.63  # 690 validation images of the reference problem in 190 groups


@dataclass(frozen=True)
class Scenes:
    """What both systems see: pixels per class, the group of each image, and effects on the logit of the recall."""

    pixels_nk: Floats
    group_n: NDArray[np.intp]
    shared_nk: Floats
    own_snk: Floats
    taste_snk: Floats


def scenes(groups: int, rock_share: float, seed: int, systems: int = 2) -> Scenes:
    """Draw the scenes of a population; ``rock_share`` of the images hold rock, in twice as large a share of groups."""
    random = np.random.default_rng(seed)
    group_n = np.repeat(np.arange(groups), random.geometric(1 / IMAGES_PER_GROUP, groups))
    n = len(group_n)
    base_gk = random.gamma(np.array([1.0, 0.6, 0.7]), size=(groups, 3)) + 1e-3
    base_gk /= base_gk.sum(1, keepdims=True)
    share_nk = random.gamma(6 * base_gk[group_n] + 0.02) + 1e-9
    rock_n = np.minimum(0.6, 0.018 * np.exp(1.6 * random.normal(size=n)))
    rock_n *= (random.random(groups) < 2 * rock_share)[group_n] & (random.random(n) < 0.5)
    labelled_n = 8192 * (0.3 + 0.7 * random.beta(2, 1, n))
    share_nk *= (1 - rock_n)[:, None] / share_nk.sum(1, keepdims=True)
    pixels_nk = np.concatenate([share_nk, rock_n[:, None]], axis=1) * labelled_n[:, None]
    difficulty_nk = random.normal(0, 0.7, (groups, 1))[group_n] + random.normal(0, 0.7, (n, 1))
    difficulty_nk = difficulty_nk + random.normal(0, 0.5, (groups, CLASSES))[group_n]
    own_snk = random.normal(0, 0.3, (systems, groups, CLASSES))[:, group_n]
    own_snk = own_snk + random.normal(0, 0.4, (systems, n, CLASSES))
    taste_snk = random.normal(0, 0.8, (systems, groups, CLASSES))[:, group_n]
    return Scenes(pixels_nk, group_n, difficulty_nk, own_snk, taste_snk)


def confusions(seen: Scenes, system: int, recall_k: Floats, taste_k: Floats) -> Floats:
    """Per-image confusion matrices (n, k, k), in expected pixels, of a system with logits of recall and of taste.

    A pixel of class i is found with the probability of its recall; the others go to class j as exp(taste_j) says.
    """
    found_nk = seen.pixels_nk * expit(recall_k + seen.shared_nk + seen.own_snk[system])
    pull_nk = np.exp(taste_k + seen.taste_snk[system])
    pull_nkk = np.where(np.eye(CLASSES, dtype=bool), 0.0, pull_nk[:, None, :])
    table_nkk = (seen.pixels_nk - found_nk)[:, :, None] * pull_nkk / pull_nkk.sum(2, keepdims=True)
    table_nkk[:, range(CLASSES), range(CLASSES)] = found_nk
    return table_nkk


def group_sums(seen: Scenes, table_nkk: Floats) -> Floats:
    """Hits, union and truth of each class in each group: (groups, k, 3)."""
    parts = class_counts(table_nkk).swapaxes(1, 2)
    return np.add.reduceat(parts, np.flatnonzero(np.diff(seen.group_n, prepend=-1)), axis=0)


TASTE = np.log([0.4, 0.3, 0.3, 0.002])
PAIRS = {  # recall of the second system, and what the first one's recall and taste are apart from it
    "twins": (np.array([2.3, 1.9, 1.6, -0.3]), np.zeros(CLASSES), np.zeros(CLASSES)),
    "blind": (np.array([2.3, 1.9, 1.6, -4.0]), np.zeros(CLASSES), np.zeros(CLASSES)),
    "unlike": (np.array([2.3, 1.9, 1.6, -0.3]), np.array([0.4, 0.0, -0.4, 1.0]), np.array([0.2, 0.0, -0.2, 1.2])),
}

UNEQUAL = {  # logits of the recall of rock, added to those of the first and of the second twin
    "one blind": (0.0, -3.7),
    "one sharp": (1.5, -1.5),
}


def population(world: str, truth: float, rock_share: float, groups: int, seed: int) -> Floats:
    """Sums (groups, systems, k, 3) where mean IoU and IoU of rock of the first system exceed the second's by truth.

    For worlds of `UNEQUAL` there is no such truth.
    """
    seen = scenes(groups, rock_share, seed)
    if world in UNEQUAL:
        recalls = [PAIRS["twins"][0] + more * (np.arange(CLASSES) == ROCK) for more in UNEQUAL[world]]
        return np.stack(
            [group_sums(seen, confusions(seen, s, recall_k, TASTE)) for s, recall_k in enumerate(recalls)], 1
        )
    base_k, recall_k, taste_k = PAIRS[world]
    second = group_sums(seen, confusions(seen, 1, base_k, TASTE))
    goal_k = iou(second.sum(0))

    def first(shifts: Floats) -> Floats:
        shift_k = np.where(np.arange(CLASSES) == ROCK, shifts[1], shifts[0])
        return group_sums(seen, confusions(seen, 0, base_k + recall_k + shift_k, TASTE + taste_k))

    def gap(shifts: Floats) -> Floats:
        difference_k = iou(first(shifts).sum(0)) - goal_k - truth
        return np.array([difference_k.mean(), difference_k[ROCK]])

    solved = root(gap, np.zeros(2), tol=1e-10)
    if np.abs(gap(solved.x)).max() > 1e-9:
        raise RuntimeError(f"no shift makes {world} differ by {truth}: {solved.message}")
    return np.stack([first(solved.x), second], axis=1)


def iou(sums: Floats) -> Floats:
    """IoU from (..., k, 3) sums of hits, union and truth."""
    return iou_of(sums.swapaxes(-1, -2))
