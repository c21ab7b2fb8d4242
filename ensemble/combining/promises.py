"""Count what promises need from the validation images: how sure a model is where it is right, and where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from ensemble.combining.held_out import HeldOut
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.promises import NEAR_ONE, NEAR_ZERO, GroupCounts
from ensemble.evaluation.void import VOID


@dataclass(frozen=True, eq=False)
class Evidence:
    """Counts of the labelled validation pixels by group.

    Attributes:
        right: confidence where the decided class is right.
        wrong: confidence where it is wrong.
        true_c: for each class, its probability where it is the true one.
    """

    right: GroupCounts
    wrong: GroupCounts
    true_c: tuple[GroupCounts, ...]

    def to_bytes(self) -> bytes:
        """Return all counts as safetensors; see `from_bytes`."""
        count = 1 + max((group for one in (self.right, self.wrong) for group in one.groups), default=-1)
        true_cgt = np.stack([one.counts(count) for one in self.true_c])
        return save({"right": self.right.counts(count), "wrong": self.wrong.counts(count), "true": true_cgt})

    @classmethod
    def from_bytes(cls, content: bytes) -> Evidence:
        """Return what ``to_bytes`` wrote."""
        found = load(content)
        true_c = tuple(GroupCounts.of_counts(NEAR_ZERO, counts_gt) for counts_gt in found["true"])
        return cls(
            GroupCounts.of_counts(NEAR_ONE, found["right"]), GroupCounts.of_counts(NEAR_ONE, found["wrong"]), true_c
        )


def confidence(probs_nchw: NDArray[np.float32], decided_nhw: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return the probability of the decided class (n, h, w): one minus the expected error of a calibrated model."""
    return np.take_along_axis(probs_nchw, decided_nhw[:, None].astype(np.intp, copy=False), axis=1)[:, 0]


def gather_evidence(held_out: HeldOut, progress: Progress = no_progress) -> Evidence:
    """Read the validation images once and count their labelled pixels.

    Args:
        held_out: predictions that nothing was fitted on.
        progress: callback that receives the progress.
    """
    true_c = tuple(GroupCounts(NEAR_ZERO) for _ in held_out.aligned.classes)
    evidence, group_n = Evidence(GroupCounts(NEAR_ONE), GroupCounts(NEAR_ONE), true_c), held_out.group_n
    for batch in held_out.batches(progress):
        sure_nhw = confidence(batch.probs_nchw, batch.decided_nhw)
        for index, labels_hw in enumerate(batch.labels_nhw):
            group, known_hw = int(group_n[batch.rows.start + index]), labels_hw != VOID
            labels_p, sure_p = labels_hw[known_hw], sure_nhw[index][known_hw]
            right_p = batch.decided_nhw[index][known_hw] == labels_p
            evidence.right.add(group, sure_p[right_p])
            evidence.wrong.add(group, sure_p[~right_p])
            for place in np.unique(labels_p).tolist():
                true_c[place].add(group, batch.probs_nchw[index, place][labels_hw == place])
    return evidence
