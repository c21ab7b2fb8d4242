"""Find masks that every member contradicts on images that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ensemble.core.progress import Progress, no_progress
from ensemble.data.cleaning.checks import Suspect
from ensemble.evaluation.strips import PredictedBatch
from ensemble.evaluation.void import VOID

MOST = 0.5  # share of the labelled pixels of a suspicious mask that all members contradict


class StoredPredictions(Protocol):
    """Stored probabilities of several members for the same images, such as `ensemble.combining.alignment.Aligned`."""

    @property
    def members(self) -> int:
        """Number of members."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """Ids of the images."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the scored classes."""
        ...

    def batches(self) -> Iterator[PredictedBatch]:
        """Yield probabilities and labels of some images, or of a strip of a large one."""
        ...


def contradicted_masks(
    aligned: StoredPredictions, ids: Sequence[str], progress: Progress = no_progress
) -> list[Suspect]:
    """Return the images whose mask all members contradict in most of its labelled pixels, the worst first.

    A pixel is contradicted when two things hold. Every member gives the same other class ``k`` the highest probability,
    and the members are on average as sure of ``k`` as on pixels with the label ``k``:
    ``mean_m p_m(k) / t_m(k) >= 1`` with ``t_m(k)`` the mean of ``p_m(k)`` over the pixels labelled ``k``. This is the
    threshold of confident learning, one per member and class, so neither over-confident losses nor frequent classes
    count more than others. The predictions are hold-out or out-of-fold; they are read twice, in bounded memory.

    Args:
        aligned: predictions of the members for images that they were not trained on.
        ids: ids of all images of the data set, in its order.
        progress: progress callback.

    Reference:
        Northcutt, Jiang & Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset Labels, eq. 2.
    """
    sure_mk = _mean_confidence(aligned, progress)
    row_of = {name: row for row, name in enumerate(ids)}
    suspects: list[Suspect] = []
    counts_nkk, labelled_n = _contradictions(aligned, sure_mk, progress)
    for name, counts_kk, labelled in zip(aligned.ids, counts_nkk, labelled_n.tolist(), strict=True):
        if counts_kk.sum() > MOST * labelled:
            detail = _detail(counts_kk, aligned.classes, aligned.members)
            score = float(counts_kk.sum() / labelled)
            suspects.append(Suspect(row=row_of[name], id=name, reason="members-disagree", score=score, detail=detail))
    return sorted(suspects, key=lambda one: (-one.score, one.row))


def _contradictions(
    aligned: StoredPredictions, sure_mk: NDArray[np.float64], progress: Progress
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sums of `contradictions` for every image."""
    total, classes = len(aligned.ids), len(aligned.classes)
    counts_nkk, labelled_n = np.zeros((total, classes, classes), np.int64), np.zeros(total, np.int64)
    for batch in aligned.batches():
        probs_mnchw = batch.cut(batch.probs_mnchw)
        for index, labels_hw in enumerate(batch.labels_nhw):
            counts_kk, labelled = contradictions(probs_mnchw[:, index], labels_hw, sure_mk)
            counts_nkk[batch.rows.start + index] += counts_kk
            labelled_n[batch.rows.start + index] += labelled
        progress("comparing masks with predictions", batch.rows.stop, total)
    return counts_nkk, labelled_n


def contradictions(
    probs_mchw: NDArray[np.float32], labels_hw: NDArray[np.uint8], sure_mk: NDArray[np.float64]
) -> tuple[NDArray[np.int64], int]:
    """Count the contradicted pixels of an image (class of the mask, class of the members) and its labelled pixels.

    Args:
        probs_mchw: probabilities of every member.
        labels_hw: labels with void 255.
        sure_mk: mean probability of every class on the pixels with that label.
    """
    classes = probs_mchw.shape[1]
    inside = labels_hw != VOID
    labels_p, probs_mcp = labels_hw[inside], probs_mchw[:, :, inside]
    predicted_mp = probs_mcp.argmax(1)
    sureness_mp = probs_mcp.max(1) / np.take_along_axis(sure_mk, predicted_mp, axis=1)
    agreed_p = (predicted_mp == predicted_mp[0]).all(0)
    against_p = agreed_p & (sureness_mp.mean(0) >= 1) & (predicted_mp[0] != labels_p)
    pairs_p = labels_p[against_p].astype(np.int64) * classes + predicted_mp[0][against_p]
    return np.bincount(pairs_p, minlength=classes**2).reshape(classes, classes), len(labels_p)


def _mean_confidence(aligned: StoredPredictions, progress: Progress) -> NDArray[np.float64]:
    """Return the mean probability of each class on the pixels with that label, per member; infinity without pixels."""
    classes = len(aligned.classes)
    sums_mk, pixels_k = np.zeros((aligned.members, classes)), np.zeros(classes)
    for batch in aligned.batches():
        probs_mnchw = batch.cut(batch.probs_mnchw)
        for k in range(classes):
            inside = batch.labels_nhw == k
            sums_mk[:, k] += probs_mnchw[:, :, k][:, inside].sum(1, dtype=np.float64)
            pixels_k[k] += inside.sum()
        progress("measuring how sure members are", batch.rows.stop, len(aligned.ids))
    means_mk = np.divide(sums_mk, pixels_k, out=np.full_like(sums_mk, np.inf), where=pixels_k > 0)
    return np.maximum(means_mk, 1e-6)  # stored probabilities can be 0


def _detail(counts_kk: NDArray[np.int64], classes: Sequence[str], members: int) -> str:
    mask, predicted = divmod(int(counts_kk.argmax()), len(classes))
    who = "the member predicts" if members == 1 else f"all {members} members predict"
    return f"{who} {classes[predicted]} on pixels with the label {classes[mask]}"
