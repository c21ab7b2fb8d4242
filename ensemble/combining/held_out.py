"""What a member or an ensemble predicts for its validation images without a fit on them: the basis of promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned, align
from ensemble.combining.by_fold import apply_by_fold
from ensemble.combining.combiner import Combiner
from ensemble.combining.pool import Pool
from ensemble.combining.serialization import load_combiner
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member
from ensemble.runs.tables import read_tables


class HeldOutBatch(NamedTuple):
    """Images of one size, or a strip of one image.

    Attributes:
        rows: the images.
        probs_nchw: pooled probabilities.
        decided_nhw: decided classes.
        labels_nhw: labels with void 255.
    """

    rows: slice
    probs_nchw: NDArray[np.float32]
    decided_nhw: NDArray[np.intp]
    labels_nhw: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The validation images, each with the pool that was fitted without the images of its fold.

    Attributes:
        aligned: stores of the members; they hold what networks predict for images that they were not trained on.
        pools: the pool of each fold.
        fold_n: fold of each image.
    """

    aligned: Aligned
    pools: tuple[Combiner, ...]
    fold_n: NDArray[np.int64]

    @classmethod
    def of(cls, run: Ensemble | Member) -> HeldOut:
        """Return what a member, or a cross-fitted ensemble, predicts for its validation images.

        Raises:
            EnsError: an older version made the ensemble, or members or stores are missing or damaged.
        """
        if isinstance(run, Member):
            aligned = align([run])
            return cls(aligned, (Pool.uniform(1, len(aligned.classes)),), np.zeros(len(aligned.ids), np.int64))
        aligned, fold_n = align(run.members()), read_tables(run.path).tables.get("fold")
        if fold_n is None or not run.fold_pools:
            raise EnsError(
                f"expected an ensemble that keeps the pools of its folds, but an older version made {run.name}; combine"
                " its members again"
            )
        return cls(aligned, tuple(map(load_combiner, run.fold_pools)), fold_n)

    def deciding_as(self, pool: Combiner) -> HeldOut:
        """Return the same with the decision of another pool."""
        return replace(self, pools=tuple(each.deciding(pool.decision, pool.offsets_c) for each in self.pools))

    @property
    def group_n(self) -> NDArray[np.intp]:
        """Group of each image, as a number."""
        return np.unique(np.asarray(self.aligned.groups), return_inverse=True)[1]

    def batches(self, progress: Progress = no_progress) -> Iterator[HeldOutBatch]:
        """Yield the images in order, in bounded memory."""
        for batch in self.aligned.batches(halo=max(pool.reach for pool in self.pools)):
            probs, decided = apply_by_fold(self.pools, self.fold_n[batch.rows], batch.probs_mnchw)
            yield HeldOutBatch(batch.rows, batch.cut(probs), batch.cut(decided), batch.labels_nhw)
            progress("reading probabilities", batch.rows.stop, len(self.aligned.ids))
