"""Recompute the tables of a member from its stored probabilities and labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import BATCH_BYTES
from ensemble.combining.differences import Difference, other_tables
from ensemble.core.progress import Progress
from ensemble.evaluation.image import SMALLEST_PROBABILITY
from ensemble.evaluation.tally import Tally
from ensemble.evaluation.void import VOID
from ensemble.runs.member import Member
from ensemble.runs.store import decode, parts_of
from ensemble.runs.store.codec import LEVELS
from ensemble.runs.tables import ImageTables

COUNTS = ("confusions", "boundary", "objects")
"""Tables that follow from the stored probabilities to the last pixel."""
SLACK = 1e-6  # of sums of rounded numbers


def _recount(member: Member, progress: Progress) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64]]:
    """Return the tables of a member's stored probabilities, and the limits that its codes give; see `code_limits`."""
    store = member.store()
    tally, reader, classes = Tally(len(store.classes)), store.reader(), len(store.classes)
    limits_2ns = np.zeros((2, store.n, 1 + classes))
    for part in parts_of(store.sizes, range(store.n), pixels=BATCH_BYTES // (4 * classes)):
        codes_nchw, labels = reader.read(part)
        labels_nhw = np.full((len(codes_nchw), *codes_nchw.shape[2:]), VOID, np.uint8) if labels is None else labels
        tally.add(decode(codes_nchw), labels_nhw, strip=part.strip)
        limits_2ns[:, list(part.images)] += code_limits(codes_nchw, labels_nhw)
        progress(f"recomputing {member.name}", part.images[-1] + 1, store.n)
    return tally.arrays(), limits_2ns


def code_limits(codes_nchw: NDArray[np.uint8], labels_nhw: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the smallest and the largest sums that probabilities with these codes can have on each image.

    A member is scored before its probabilities are rounded. A code is ``127 sqrt(p)`` rounded, or one less where two
    classes would tie, so p lies between ``((q - 0.5) / 127)^2`` and ``((q + 1.5) / 127)^2``.

    Args:
        codes_nchw: codes of `ensemble.runs.store.encode`.
        labels_nhw: labels with void 255.

    Returns:
        (2, n, 1 + classes): of the log-loss, and of the squared error of each class.

    >>> codes = np.array([127, 0], np.uint8).reshape(1, 2, 1, 1)
    >>> np.abs(code_limits(codes, np.zeros((1, 1, 1), np.uint8))).round(4).tolist()
    [[[0.0, 0.0, 0.0]], [[0.0079, 0.0001, 0.0]]]
    """
    low, high = np.maximum(codes_nchw - 0.5, 0) / LEVELS, np.minimum((codes_nchw + 1.5) / LEVELS, 1)
    known_nhw, classes = labels_nhw != VOID, codes_nchw.shape[1]
    is_true = labels_nhw[:, None] == np.arange(classes)[:, None, None]
    sums: list[NDArray[np.float64]] = []
    ends = low**2, high**2
    errors = np.sort([np.abs(end - is_true) for end in ends], axis=0)
    for p_nchw, error_nchw in zip(reversed(ends), errors, strict=True):
        true_nhw = np.maximum((p_nchw * is_true).sum(1), SMALLEST_PROBABILITY)
        log_loss_n = np.where(known_nhw, -np.log(true_nhw), 0).sum((1, 2))
        brier_nk = (np.square(error_nchw) * known_nhw[:, None]).sum((2, 3))
        sums.append(np.concatenate([log_loss_n[:, None], brier_nk], axis=1))
    return np.stack(sums)


def recheck_member(member: Member, run: ImageTables, progress: Progress) -> Iterator[Difference]:
    """Yield what differs between the tables of a member and its stored probabilities."""
    tables, (counted, (least_ns, most_ns)) = run.tables, _recount(member, progress)
    yield from other_tables(member.name, tables, {name: counted[name] for name in COUNTS}, 0.0)
    sums_ns = np.concatenate([tables["log_loss"][:, None], tables["brier_per_class"]], axis=1)
    beyond_ns = (sums_ns < least_ns - SLACK * (1 + least_ns)) | (sums_ns > most_ns + SLACK * (1 + most_ns))
    for image, place in np.argwhere(beyond_ns)[:1].tolist():
        name = f"Brier score of '{run.classes[place - 1]}'" if place else "log-loss"
        allowed = f"{least_ns[image, place]:.6g} to {most_ns[image, place]:.6g}"
        yield Difference(member.name, f"the {name} of image {run.ids[image]}", sums_ns[image, place], allowed)
    count_nk, _, right_nk = np.moveaxis(tables["reliability_per_class"].sum(-1), 2, 0)
    taken = {"confusions": tables["confusions"].sum(1), "reliability_per_class": count_nk}
    hits = {"confusions": np.diagonal(tables["confusions"], axis1=1, axis2=2), "reliability_per_class": right_nk}
    for what, each in (("pixels", taken), ("right pixels", hits)):
        if (each["confusions"] != each["reliability_per_class"]).any():
            sums = (int(each[name].sum()) for name in ("reliability_per_class", "confusions"))
            yield Difference(member.name, f"the number of {what} in the reliability tables", *sums)
