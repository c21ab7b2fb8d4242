"""Rank images without labels by how much a label would teach: where the members disagree most, no two alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ensemble.combining.alignment import Aligned
from ensemble.combining.quality import information_of
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.confusion import Floats


def information_per_image(aligned: Aligned, progress: Progress = no_progress) -> Floats:
    """Return the mean mutual information of the members over the pixels of each image, in nats.

    Args:
        aligned: the members' stores, such as those of test images.
        progress: callback that receives the progress.
    """
    sums_n = np.zeros(len(aligned.ids))
    for batch in aligned.batches():
        sums_n[batch.rows] += batch.cut(information_of(batch.probs_mnchw)).sum((1, 2), dtype=np.float64)
        progress("reading probabilities", batch.rows.stop, len(aligned.ids))
    return sums_n / np.array([height * width for height, width in aligned.sizes])


def rank_next(information_n: Floats, groups: Sequence[str], copies: Sequence[str], count: int) -> list[int]:
    """Return the rows of the images to label next, the best first; fewer than ``count`` if no more are unlike.

    The best image of each group comes first, then the second of each, and so on; within such a round the largest
    mutual information first, of equals the first image. Of near-duplicates only the best one is taken.

    Args:
        information_n: mutual information of each image.
        groups: group of each image.
        copies: a name that an image shares with its near-duplicates.
        count: number of images to choose.

    Reference:
        Houlsby et al., Bayesian Active Learning for Classification and Preference Learning, 2011; Kirsch, van
        Amersfoort and Gal, BatchBALD, 2019 (why the best images together must not be alike).

    >>> rank_next(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), list("aaabb"), list("uuvwx"), 4)
    [0, 3, 2, 4]
    """
    taken, rounds, of_group = set[str](), list[tuple[int, int]](), dict[str, int]()
    best_first: list[int] = np.argsort(-information_n, kind="stable").tolist()
    for row in best_first:
        if copies[row] not in taken:
            taken.add(copies[row])
            place = of_group.get(groups[row], 0)
            of_group[groups[row]] = place + 1
            rounds.append((place, row))
    return [row for _, row in sorted(rounds, key=lambda entry: entry[0])[:count]]
