"""Find suspects: images and masks to look at before training, or to leave out of it (see ``exclusion``)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.files import digest
from ensemble.core.progress import Progress, no_progress
from ensemble.data.cleaning.outliers import edge_strengths, strangeness
from ensemble.data.dataset import Dataset
from ensemble.data.groups import linked, near_duplicates

REASONS = {
    "repeated-mask": "one mask on several images, too complex to be drawn twice by chance",
    "unlike-the-rest": "edges unlike those of the other images",
    "identical-image": "the same pixels as an earlier image",
    "near-identical-image": "nearly the same pixels as an earlier image",
    "almost-void": "hardly any pixel has a label",
    "members-disagree": "all members contradict most of the mask on images they did not train on",
}
"""Reasons to suspect an image, with their meaning, in the order of the table."""

ALMOST_VOID = 0.95  # share of pixels without label
CHANCE = 1e-6  # repeats of a mask that may be expected by chance

Pairs = Sequence[tuple[int, int, float]]


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """One image, with the reason and the strength of the suspicion.

    Attributes:
        row: row of the image in the data set.
        id: identity of the image.
        reason: one of ``REASONS``.
        score: larger is worse; ``repeated-mask``: images with that mask; ``unlike-the-rest``: 1 - bound / distance;
            ``identical-image``: 1; ``near-identical-image``: correlation; ``almost-void``: share of the pixels
            without a label; ``members-disagree``: share of the labelled pixels that all members contradict.
        detail: one phrase for people.
    """

    row: int
    id: str
    reason: str
    score: float
    detail: str


@dataclass
class _Scan:
    """Result of one pass over the data: digests and edges of every image, and corners of the distinct masks.

    The corners are counted at each place of the masks of one shape, and so are these masks.
    """

    images: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    edges: list[NDArray[np.float32]] = field(default_factory=list)
    corners_hw: dict[tuple[int, ...], NDArray[np.int64]] = field(default_factory=dict[tuple[int, ...], Any])
    distinct: Counter[tuple[int, ...]] = field(default_factory=Counter[tuple[int, ...]])


def find_suspects(dataset: Dataset, progress: Progress = no_progress) -> list[Suspect]:
    """Find images and masks that a person should look at, in one pass and in bounded memory.

    * ``identical-image``, ``near-identical-image``: copies of an earlier image, which is not flagged itself. Images
      are near-identical by perceptual hash and correlation, see :func:`ensemble.data.groups.near_duplicates`.
    * ``repeated-mask``: all images that share a mask whose outline is too complex to be drawn twice by chance.
    * ``unlike-the-rest``: see :func:`ensemble.data.cleaning.outliers.strangeness`.
    * ``almost-void``: fewer than 5 % of the pixels have a label.

    Returns:
        Suspects by reason in the order of ``REASONS``, the worst first; an image may have several reasons. Masks
        that trained members contradict are found by :func:`ensemble.data.cleaning.label_errors.contradicted_masks`.
    """
    scan = _scan(dataset, progress)
    near = near_duplicates(dataset, progress)
    repeated = list(_repeated(dataset, scan, near))
    # Images into which the same figure was pasted have similar hashes, but they are not copies of each other.
    pasted = {suspect.row for suspect in repeated}
    near = [pair for pair in near if not {pair[0], pair[1]} <= pasted]
    suspects = [
        *repeated,
        *_unlike(dataset, scan),
        *_identical(dataset, scan),
        *_near_identical(dataset, scan, near),
        *_almost_void(dataset),
    ]
    order = list(REASONS)
    return sorted(suspects, key=lambda one: (order.index(one.reason), -one.score, one.row))


def _scan(dataset: Dataset, progress: Progress) -> _Scan:
    scan, seen = _Scan(), set[str]()
    for rows in dataset.batches():
        for image, mask in zip(dataset.images(rows), dataset.labels(rows), strict=True):
            scan.images.append(digest(str(image.shape), np.ascontiguousarray(image).data))
            scan.masks.append(digest(str(mask.shape), np.ascontiguousarray(mask).data))
            scan.edges.append(edge_strengths(image))
            if scan.masks[-1] not in seen:
                seen.add(scan.masks[-1])
                scan.distinct[mask.shape] += 1
                corners_hw = contour_corners(mask).astype(np.int64)
                scan.corners_hw[mask.shape] = scan.corners_hw.get(mask.shape, 0) + corners_hw
        progress("looking at images and masks", rows.stop, len(dataset.ids))
    return scan


def contour_corners(mask_hw: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where contours have a corner, (h-1, w-1).

    A corner is a square of 2x2 pixels that neither has one label nor is halved by a straight line.

    >>> contour_corners(np.array([[1, 1, 1], [1, 2, 2], [1, 2, 2]], np.uint8)).tolist()
    [[True, False], [False, False]]
    """
    a, b, c, d = mask_hw[:-1, :-1], mask_hw[:-1, 1:], mask_hw[1:, :-1], mask_hw[1:, 1:]
    return ~((a == b) & (c == d) | (a == c) & (b == d))


def chance_repeats(corners_hw: NDArray[np.bool_], others_hw: NDArray[np.int64], distinct: int, images: int) -> float:
    """Return an upper bound of the number of pairs of images that would share a mask by chance.

    At every corner the contour could have gone straight on, so a mask is one of at least ``2^corners``. A corner that
    most other masks have too (the border of a lens) carries less information, ``-log2(share)`` bits:
    ``n (n - 1) / 2 * 2^-sum_corners min(1, -log2 share)``. Masks of uniform terrain have hardly any corner.

    Args:
        corners_hw: corners of the mask, from :func:`contour_corners`.
        others_hw: number of other distinct masks that have a corner at each place.
        distinct: number of distinct masks of this shape.
        images: number of images.
    """
    share = (others_hw[corners_hw] + 0.5) / distinct
    bits = np.minimum(1.0, -np.log2(share)).sum()
    return float(images * (images - 1) / 2 * np.exp2(-bits))


def _repeated(dataset: Dataset, scan: _Scan, near: Pairs) -> Iterator[Suspect]:
    picture_n = linked(len(scan.images), near)
    rows_of = _same(scan.masks)
    for rows in rows_of.values():
        if len(set(picture_n[rows].tolist())) < 2:
            continue  # one image, or copies of one image
        mask = dataset.label(rows[0])
        own_hw = contour_corners(mask)
        others_hw = scan.corners_hw[mask.shape] - own_hw
        if chance_repeats(own_hw, others_hw, scan.distinct[mask.shape], len(scan.masks)) < CHANCE:
            detail = f"mask of {len(rows)} images, the first is {dataset.ids[rows[0]]}; {own_hw.sum()} corners"
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
            detail = f"same pixels as image {dataset.ids[first]}, {masks}{_apart(dataset, first, row)}"
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
        detail = f"{dataset.counts_nk[row].sum()} pixels have a label"
        yield Suspect(row=row, id=dataset.ids[row], reason="almost-void", score=float(void_n[row]), detail=detail)


def _same(digests: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of every digest, in order."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(digests):
        rows_of[text].append(row)
    return rows_of
