"""Suspects: images and masks that are better looked at before training (or left out of it, see ``exclusion``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ensemble.core.files import digest
from ensemble.core.progress import Progress, no_progress
from ensemble.data.cleaning.outliers import edge_strengths, strangeness
from ensemble.data.dataset import Dataset
from ensemble.data.groups import batches, linked, near_duplicates

REASONS = {
    "repeated-mask": "one mask on several images, too intricate to be drawn twice by chance",
    "unlike-the-rest": "edges unlike those of the other images",
    "identical-image": "the pixels of an earlier image",
    "near-identical-image": "nearly the pixels of an earlier image",
    "almost-void": "hardly any pixel carries a label",
    "members-disagree": "all members contradict most of the mask on images they did not train on",
}
"""Reasons to suspect an image, and what they say, in the order they are listed."""

ALMOST_VOID = 0.95  # share of pixels without label
CHANCE = 1e-6  # repeats of a mask that may be expected by chance

Pairs = Sequence[tuple[int, int, float]]


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """One image, why it is suspected and how strongly.

    Attributes:
        row: place of the image in the data set.
        id: its identity.
        reason: one of ``REASONS``.
        score: larger is worse; ``repeated-mask``: images with that mask; ``unlike-the-rest``: 1 - bound / distance;
            ``identical-image``: 1; ``near-identical-image``: correlation; ``almost-void``: share of the pixels
            without label; ``members-disagree``: share of the labelled pixels that all members contradict.
        detail: one phrase for people.
    """

    row: int
    id: str
    reason: str
    score: float
    detail: str


@dataclass
class _Scan:
    """What one pass over the data keeps of every image, and where the outlines of the distinct masks turn."""

    images: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    edges: list[NDArray[np.float32]] = field(default_factory=list)
    turns_hw: NDArray[np.int64] = field(default_factory=lambda: np.zeros((1, 1), np.int64))


def check_data(dataset: Dataset, progress: Progress = no_progress) -> list[Suspect]:
    """Find images and masks that are worth a look, in one pass and in bounded memory.

    * ``identical-image``, ``near-identical-image``: copies of an earlier image (which is not flagged itself);
      near-identical by perceptual hash and correlation, as in :func:`ensemble.data.groups.near_duplicates`;
    * ``repeated-mask``: all images that share a mask whose outline is too intricate to be drawn twice by chance;
    * ``unlike-the-rest``: see :func:`ensemble.data.cleaning.outliers.strangeness`;
    * ``almost-void``: fewer than 5 % of the pixels carry a label.

    Returns:
        Suspects by reason in the order of ``REASONS``, the worst first; an image may have several reasons. Masks
        that trained members contradict are found by :func:`ensemble.data.cleaning.label_errors.contradicted_masks`.
    """
    scan = _scan(dataset, progress)
    near = near_duplicates(dataset, progress)
    repeated = list(_repeated(dataset, scan, near))
    # Images into which the same figure is pasted hash alike, but are copies of nothing.
    pasted = {suspect.row for suspect in repeated}
    near = [pair for pair in near if not {pair[0], pair[1]} <= pasted]
    found = [
        *repeated,
        *_unlike(dataset, scan),
        *_identical(dataset, scan),
        *_near_identical(dataset, scan, near),
        *_almost_void(dataset),
    ]
    order = list(REASONS)
    return sorted(found, key=lambda one: (order.index(one.reason), -one.score, one.row))


def _scan(dataset: Dataset, progress: Progress) -> _Scan:
    scan, seen = _Scan(), set[str]()
    for rows in batches(dataset):
        for image, mask in zip(dataset.images(rows), dataset.labels(rows), strict=True):
            scan.images.append(digest(np.ascontiguousarray(image).data))
            scan.masks.append(digest(np.ascontiguousarray(mask).data))
            scan.edges.append(edge_strengths(image))
            if scan.masks[-1] not in seen:
                seen.add(scan.masks[-1])
                scan.turns_hw = scan.turns_hw + turns(mask)
        progress("looking at images and masks", rows.stop, len(dataset.ids))
    return scan


def turns(mask_hw: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where outlines turn (h-1, w-1): squares of 2x2 pixels that are neither of one label nor halved by a line.

    >>> turns(np.array([[1, 1, 1], [1, 2, 2], [1, 2, 2]], np.uint8)).tolist()
    [[True, False], [False, False]]
    """
    a, b, c, d = mask_hw[:-1, :-1], mask_hw[:-1, 1:], mask_hw[1:, :-1], mask_hw[1:, 1:]
    return ~((a == b) & (c == d) | (a == c) & (b == d))


def chance_repeats(turns_hw: NDArray[np.bool_], others_hw: NDArray[np.int64], distinct: int, images: int) -> float:
    """Pairs of images that would share a mask by chance, at most.

    At every turn its outline could have gone on straight, so a mask is one of at least ``2^turns``; a turn that
    most other masks have as well (the border of a lens) tells less, its surprise ``-log2(share)``:
    ``n (n - 1) / 2 * 2^-sum_turns min(1, -log2 share)``. Uniform terrain, framed by void or not, has hardly any turn.

    Args:
        turns_hw: from :func:`turns`, of the mask.
        others_hw: how many of the other distinct masks turn at each place.
        distinct: number of distinct masks.
        images: number of images.
    """
    share = (others_hw[turns_hw] + 0.5) / distinct
    bits = np.minimum(1.0, -np.log2(share)).sum()
    return float(images * (images - 1) / 2 * np.exp2(-bits))


def _repeated(dataset: Dataset, scan: _Scan, near: Pairs) -> Iterator[Suspect]:
    picture_n = linked(len(scan.images), near)
    rows_of = _same(scan.masks)
    for rows in rows_of.values():
        if len(set(picture_n[rows].tolist())) < 2:
            continue  # one image, or copies of one image
        own_hw = turns(dataset.labels(rows[:1])[0])
        if chance_repeats(own_hw, scan.turns_hw - own_hw, len(rows_of), len(scan.masks)) < CHANCE:
            detail = f"mask of {len(rows)} images from {dataset.ids[rows[0]]} on; outline of {own_hw.sum()} turns"
            for row in rows:
                yield Suspect(row=row, id=dataset.ids[row], reason="repeated-mask", score=len(rows), detail=detail)


def _unlike(dataset: Dataset, scan: _Scan) -> Iterator[Suspect]:
    ratio_n = strangeness(np.stack(scan.edges))
    for row in np.flatnonzero(ratio_n > 1).tolist():
        ratio = float(ratio_n[row])
        detail = f"edges {ratio:.1f} times as far from the rest as chance allows" if np.isfinite(ratio) else "no edges"
        yield Suspect(row=row, id=dataset.ids[row], reason="unlike-the-rest", score=1 - 1 / ratio, detail=detail)


def _identical(dataset: Dataset, scan: _Scan) -> Iterator[Suspect]:
    for first, *copies in _same(scan.images).values():
        for row in copies:
            masks = "with the same mask" if scan.masks[row] == scan.masks[first] else "with ANOTHER mask"
            detail = f"the pixels of image {dataset.ids[first]}, {masks}{_apart(dataset, first, row)}"
            yield Suspect(row=row, id=dataset.ids[row], reason="identical-image", score=1.0, detail=detail)


def _near_identical(dataset: Dataset, scan: _Scan, near: Pairs) -> Iterator[Suspect]:
    best: dict[int, tuple[float, int]] = {}
    for first, second, likeness in near:
        if scan.images[first] != scan.images[second]:
            best[second] = max(best.get(second, (0.0, 0)), (likeness, -first))
    for row, (likeness, minus_first) in best.items():
        detail = f"correlates with image {dataset.ids[-minus_first]}{_apart(dataset, -minus_first, row)}"
        yield Suspect(row=row, id=dataset.ids[row], reason="near-identical-image", score=likeness, detail=detail)


def _apart(dataset: Dataset, first: int, second: int) -> str:
    groups = dataset.groups
    return "" if groups is None or groups[first] == groups[second] else ", in another group"


def _almost_void(dataset: Dataset) -> Iterator[Suspect]:
    void_n = 1 - dataset.counts_nk.sum(1) / dataset.counts_ni.sum(1)
    for row in np.flatnonzero(void_n > ALMOST_VOID).tolist():
        detail = f"{dataset.counts_nk[row].sum()} pixels carry a label"
        yield Suspect(row=row, id=dataset.ids[row], reason="almost-void", score=float(void_n[row]), detail=detail)


def _same(digests: Sequence[str]) -> dict[str, list[int]]:
    """Rows by digest, in order."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(digests):
        rows_of[text].append(row)
    return rows_of
