"""The data that methods are fitted on: the members' stored probabilities at labelled pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.arithmetic import tempered
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.data.rarest import rarest_class_per_image
from ensemble.data.split import group_folds
from ensemble.evaluation.void import VOID

FIT_PIXELS = 1_000_000  # largest number of labelled pixels for fitting: a few dozen parameters need no more
FIT_BYTES = 96 << 20  # largest size of their probabilities; each fold needs a copy in addition


@dataclass(frozen=True, eq=False)
class FitData:
    """Probabilities of all members at labelled pixels: everything that a method sees.

    Attributes:
        probs_mcp: (members, classes, pixels) float32.
        image_p: image of each pixel.
        labels_p: true class of each pixel.
        group_n: group of each image, as a number; images of a group stay together in every split.
        near_mcp: means over the 3x3 neighbourhood of each pixel; None if they were not gathered.
    """

    probs_mcp: NDArray[np.float32]
    image_p: NDArray[np.int32]
    labels_p: NDArray[np.uint8]
    group_n: NDArray[np.intp]
    near_mcp: NDArray[np.float32] | None = None

    @property
    def members(self) -> int:
        """Number of members."""
        return self.probs_mcp.shape[0]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.probs_mcp.shape[1]

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return len(self.labels_p)

    @cached_property
    def true_probs_pm(self) -> NDArray[np.float32]:
        """Probability of the true class by each member (pixels, members)."""
        flat = self.probs_mcp.reshape(self.members, -1)
        return np.take(flat, self.labels_p * np.intp(self.pixels) + np.arange(self.pixels), axis=1).T

    def of_images(self, chosen_n: NDArray[np.bool_]) -> FitData:
        """Return the part that belongs to some images; it is copied when it is first needed."""
        return _Part(self, np.flatnonzero(chosen_n[self.image_p]))

    def thin(self, most: int) -> FitData:
        """Return at most ``most`` pixels, evenly spaced."""
        step = -(-self.pixels // most)
        return self if step <= 1 else self.of_pixels(slice(None, None, step))

    def of_members(self, places: Sequence[int]) -> FitData:
        """Return the part of some members, in the given order."""
        near = None if self.near_mcp is None else self.near_mcp[list(places)]
        return FitData(self.probs_mcp[list(places)], self.image_p, self.labels_p, self.group_n, near)

    def tempered(self, temperatures_m: NDArray[np.float64]) -> FitData:
        """Return the data with each member's probabilities raised to the power 1/T and normalised."""
        if (temperatures_m == 1).all():
            return self

        def each(values_mcp: NDArray[np.float32]) -> NDArray[np.float32]:
            tempered_mcp = np.empty_like(values_mcp)
            for values_cp, out_cp, temperature in zip(values_mcp, tempered_mcp, temperatures_m, strict=True):
                out_cp[:] = tempered(values_cp[None], float(temperature))[0]
            return tempered_mcp

        near = None if self.near_mcp is None else each(self.near_mcp)
        return FitData(each(self.probs_mcp), self.image_p, self.labels_p, self.group_n, near)

    def splits(self, folds: int, seed: int = 0) -> list[tuple[FitData, FitData]]:
        """Return the folds of an inner cross-validation as pairs (data to fit on, data to score on); groups stay whole.

        There are at most as many folds as groups, and no folds if there is only one group.
        """
        images_i, place_p = np.unique(self.image_p, return_inverse=True)
        groups = self.group_n[images_i]
        folds = min(folds, len(np.unique(groups)))
        if folds < 2:
            return []
        counts_ik = np.bincount(place_p * self.classes + self.labels_p, minlength=len(images_i) * self.classes)
        counts_ik = counts_ik.reshape(len(images_i), self.classes).astype(np.int64)
        fold_i = group_folds(
            [str(group) for group in groups], rarest_class_per_image(counts_ik), folds, seed, counts_ik
        )
        fold_p = fold_i[place_p]
        return [
            (self.of_pixels(np.flatnonzero(fold_p != fold)), self.of_pixels(np.flatnonzero(fold_p == fold)))
            for fold in range(folds)
        ]

    def confusions_gkk(self, decided_p: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the confusion matrix of every group (groups, classes, classes) for decided classes at the pixels."""
        shape = (int(self.group_n.max()) + 1, self.classes, self.classes)
        cells = np.bincount(self._cells_p + decided_p, minlength=int(np.prod(shape)))
        return cells.astype(np.int64, copy=False).reshape(shape)

    @cached_property
    def _cells_p(self) -> NDArray[np.int64]:
        """First cell of each pixel's row in the flattened confusion matrices of the groups."""
        return (self.group_n[self.image_p] * self.classes + self.labels_p) * self.classes

    def of_pixels(self, pixels: slice | NDArray[np.intp]) -> FitData:
        """Return a copy of the part that belongs to some pixels."""

        def part(values_mcp: NDArray[np.float32]) -> NDArray[np.float32]:
            if isinstance(pixels, slice):
                return np.ascontiguousarray(values_mcp[:, :, pixels])
            return np.take(values_mcp, pixels, axis=2)  # four times as fast as indexing

        near = None if self.near_mcp is None else part(self.near_mcp)
        return FitData(part(self.probs_mcp), self.image_p[pixels], self.labels_p[pixels], self.group_n, near)


class _Part(FitData):
    """Some pixels of fit data, whose probabilities are copied when they are first needed; `thin` leaves less to copy.

    Args:
        whole: the data that they are a part of.
        pixels: their places, in ascending order.
    """

    _whole: FitData
    _pixels: NDArray[np.intp]

    def __init__(self, whole: FitData, pixels: NDArray[np.intp]) -> None:
        own = {"image_p": whole.image_p[pixels], "labels_p": whole.labels_p[pixels], "group_n": whole.group_n}
        vars(self).update(own, _whole=whole, _pixels=pixels)

    @property
    def members(self) -> int:
        return self._whole.members

    @property
    def classes(self) -> int:
        return self._whole.classes

    @cached_property
    def probs_mcp(self) -> NDArray[np.float32]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._copy.probs_mcp

    @cached_property
    def near_mcp(self) -> NDArray[np.float32] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._copy.near_mcp

    @cached_property
    def _copy(self) -> FitData:
        return self._whole.of_pixels(self._pixels)

    def of_pixels(self, pixels: slice | NDArray[np.intp]) -> FitData:
        return self._whole.of_pixels(self._pixels[pixels])


def gather_fit_data(aligned: Aligned, progress: Progress = no_progress, *, neighbourhood: bool = False) -> FitData:
    """Read the members' probabilities at labelled pixels, evenly thinned to a budget of pixels and of memory.

    Args:
        aligned: the members' stores.
        progress: callback that receives the progress.
        neighbourhood: also gather the means over 3x3 pixels, which doubles the memory.

    Raises:
        EnsError: no pixel is labelled.
    """
    total, members, classes = len(aligned.ids), len(aligned.stores), len(aligned.classes)
    pixels = sum(height * width for height, width in aligned.sizes)
    most = max(1, min(FIT_PIXELS, FIT_BYTES // (4 * members * classes)))
    step = max(1, -(-pixels // most))
    room = -(-pixels // step)
    tables = [np.empty((members, classes, room), np.float32) for _ in range(1 + neighbourhood)]
    images, labels = np.empty(room, np.int32), np.empty(room, np.uint8)
    seen = filled = 0
    for batch in aligned.batches():
        near = [near_mean(batch.probs_mnchw)] if neighbourhood else []
        sources = [batch.cut(source) for source in (batch.probs_mnchw, *near)]
        for index, labels_hw in enumerate(batch.labels_nhw):
            place = np.flatnonzero(labels_hw != VOID)
            # The count of labelled pixels continues across images, so that the batch size does not change the choice.
            chosen = place[(-seen) % step :: step]
            seen += len(place)
            part = slice(filled, filled + len(chosen))
            for table, source in zip(tables, sources, strict=True):
                table[:, :, part] = np.take(source[:, index].reshape(members, classes, -1), chosen, axis=2)
            images[part], labels[part] = batch.rows.start + index, labels_hw.ravel()[chosen]
            filled = part.stop
        progress("reading probabilities", batch.rows.stop, total)
    if not seen:
        raise EnsError("expected labelled pixels to fit and score on, got only void; combine members of labelled data")
    group_n = np.unique(np.asarray(aligned.groups), return_inverse=True)[1].astype(np.intp)
    near = tables[1][:, :, :filled] if neighbourhood else None
    return FitData(tables[0][:, :, :filled], images[:filled], labels[:filled], group_n, near)


def near_mean(probs_mnchw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean over the 3x3 pixels around each pixel, the border repeated; it sums to 1 over the classes."""
    rows = _of_three(probs_mnchw.swapaxes(-1, -2)).swapaxes(-1, -2)
    total = _of_three(rows)
    return np.divide(total, np.float32(9), out=total)


def _of_three(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sum of each value, the one before and the one after along the last axis, the border repeated."""
    total = np.empty_like(values)
    total[..., 0], total[..., 1:] = values[..., 0], values[..., :-1]
    total += values
    total[..., :-1] += values[..., 1:]
    total[..., -1] += values[..., -1]
    return total
