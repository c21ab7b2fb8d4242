"""Recompute finished runs from their stored probabilities and labels, and name each score that differs.

A checksum shows that a file was not changed since its checksum was written; it does not show that the file is right.
This module computes the scores again, so it also finds a score that was edited together with its checksum.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ensemble.combining.alignment import BATCH_BYTES, align
from ensemble.combining.arithmetic import first_class
from ensemble.combining.by_fold import apply_by_fold, best_elsewhere
from ensemble.combining.pool import Pool
from ensemble.combining.serialization import load_combiner
from ensemble.combining.verdict import judge
from ensemble.core.errors import EnsError
from ensemble.core.files import read_object
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.confusion import confusion_per_image, keras_mean_iou, mean_iou
from ensemble.evaluation.image import SMALLEST_PROBABILITY
from ensemble.evaluation.scores import Tally, scores_of
from ensemble.evaluation.void import VOID
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.folder import list_runs
from ensemble.runs.layout import SCORES, is_run
from ensemble.runs.member import Member
from ensemble.runs.status import is_complete, read_status
from ensemble.runs.store import decode, parts_of
from ensemble.runs.store.codec import LEVELS
from ensemble.runs.tables import ImageTables, read_tables

TOLERANCE = 1e-9
"""Largest difference of two scores that are the same."""
OTHER_PROCESSOR = 1e-5
"""Share of a table by which powers and logarithms in float32 may change it on another processor."""
COUNTS = ("confusions", "boundary", "objects")
NEEDED = frozenset({*COUNTS, "log_loss", "brier", "brier_per_class", "reliability", "reliability_per_class"})
"""Tables from which all scores follow; runs of earlier versions lack some."""


@dataclass(frozen=True)
class Difference:
    """A value of a run that is not what its probabilities and labels give.

    Attributes:
        run: name of the run.
        cell: name of the score, table or part of the verdict.
        stored: the value in the files of the run.
        recomputed: the value that was computed again.
    """

    run: str
    cell: str
    stored: Any
    recomputed: Any

    def __str__(self) -> str:
        return f"{self.run}: {self.cell} is {self.stored}, recomputed {self.recomputed}"


@dataclass
class Recomputation:
    """Result of `recompute_runs`.

    Attributes:
        runs: number of runs that were recomputed.
        differences: what differs.
        without_tables: names of the runs of earlier versions, which lack tables.
        failed: a sentence for each run that cannot be recomputed, because a member is missing or was replaced.
    """

    runs: int = 0
    differences: list[Difference] = field(default_factory=list[Difference])
    without_tables: list[str] = field(default_factory=list[str])
    failed: list[str] = field(default_factory=list[str])


def recompute_runs(
    runs: str | Path = "runs", damaged: Collection[str] = (), progress: Progress = no_progress
) -> Recomputation:
    """Recompute the finished members, ensembles and evaluations of a folder.

    Args:
        runs: folder for runs.
        damaged: names of runs that are left out.
        progress: callback that receives the progress.
    """
    root, result = Path(runs), Recomputation()
    for path in [*list_runs(root), *list_runs(root, "evaluation")]:
        if path.name in damaged or not is_run(path) or not is_complete(path):
            continue
        try:
            found = recompute(path, progress)
        except EnsError as error:
            result.failed.append(f"{path.name} cannot be recomputed: {error}")
            continue
        if found is None:
            result.without_tables.append(path.name)
        else:
            result.runs += 1
            result.differences += found
    return result


def recompute(path: Path, progress: Progress = no_progress) -> list[Difference] | None:
    """Return what differs in a finished run, or None if an earlier version wrote it without all tables.

    The tables of a member and of an ensemble are made again from stored probabilities and labels, and every score, its
    limits, and the verdict from these tables. The probabilities of an evaluation are not stored, so its scores are
    recomputed from its tables. The verdict on a budget or a cascade compares it with the full ensemble, whose weights
    without each fold are not stored, so that verdict is not recomputed.

    Raises:
        EnsError: the run is damaged, or an ensemble lacks a member.
    """
    run, kind = read_tables(path), read_status(path).get("kind")
    if not run.tables.keys() >= NEEDED:
        return None
    scores = read_object(path / SCORES)
    found, made = list[Difference](), dict[str, Any]()
    # As in `cross_fit`: the sums of a product of matrices depend on the number of threads.
    with threadpool_limits(1, user_api="blas"):
        if kind == "member":
            found += _recheck_member(Member.open(path), run, progress)
        elif kind == "ensemble":
            ensemble = Ensemble.open(path)
            if not ensemble.fold_pools:
                return None
            pooled = _pool_again(ensemble, run, progress)
            found += _other_tables(path.name, run.tables, pooled.tables, OTHER_PROCESSOR)
            made["in_sample"] = pooled.in_sample
            if ensemble.settings.within is None and ensemble.settings.keep_gain is None:
                made["verdict"] = _verdict_again(ensemble, run, pooled)
    made |= scores_of(run.tables, run.groups, run.classes, background_of(path, run))
    return found + [Difference(path.name, *each) for each in _differing(made, scores)]


def background_of(path: Path, run: ImageTables) -> int | None:
    """Return the scored class that the Keras reading of the mean IoU ignores, if any.

    Evaluations do not store it: it is the class with the value 0 if the stored score is only explained by it.
    """
    status = read_status(path)
    if status.get("kind") == "evaluation":
        zero = run.values.index(0) if 0 in run.values else None
        plain, without = (float(keras_mean_iou(run.tables["confusions"].sum(0), ignored)) for ignored in (None, zero))
        stored = read_object(path / SCORES).get("miou_keras")
        return zero if stored is not None and abs(stored - without) <= TOLERANCE < abs(stored - plain) else None
    member = Ensemble.open(path).members()[0] if status.get("kind") == "ensemble" else Member.open(path)
    ignored = member.facts.keras_ignored
    name = None if ignored is None else member.facts.classes[ignored]
    return run.classes.index(name) if name in run.classes else None


# ---------------------------------------------------------------- members


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


def _recheck_member(member: Member, run: ImageTables, progress: Progress) -> Iterator[Difference]:
    """Yield what differs between the tables of a member and its stored probabilities."""
    tables, (counted, (least_ns, most_ns)) = run.tables, _recount(member, progress)
    yield from _other_tables(member.name, tables, {name: counted[name] for name in COUNTS}, 0.0)
    sums_ns = np.concatenate([tables["log_loss"][:, None], tables["brier_per_class"]], axis=1)
    slack = 1e-6
    beyond_ns = (sums_ns < least_ns - slack * (1 + least_ns)) | (sums_ns > most_ns + slack * (1 + most_ns))
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


# ---------------------------------------------------------------- ensembles


@dataclass(frozen=True)
class _Pooled:
    """What pooling the stored probabilities again gives."""

    tables: Mapping[str, NDArray[Any]]
    in_sample: dict[str, float]
    average_nkk: NDArray[np.int64]
    members_mnkk: NDArray[np.int64]
    best_member_nkk: NDArray[np.int64]


def _pool_again(ensemble: Ensemble, run: ImageTables, progress: Progress) -> _Pooled:
    """Pool each image with the pool that was fitted without its fold, and score it."""
    aligned, fold_n = align(ensemble.members()), run.tables["fold"]
    pools, fitted = [load_combiner(pool) for pool in ensemble.fold_pools], load_combiner(ensemble.pool)
    classes, count = len(aligned.classes), len(aligned.ids)
    uniform = Pool.uniform(aligned.members, classes)
    tally, in_sample = Tally(classes), Tally(classes, shapes=False)
    average_nkk = np.zeros((count, classes, classes), np.int64)
    members_mnkk = np.zeros((aligned.members, count, classes, classes), np.int64)
    for batch in aligned.batches(halo=max(pool.reach for pool in (fitted, *pools))):
        labels_nhw, rows = batch.labels_nhw, batch.rows
        probs, decided = apply_by_fold(pools, fold_n[rows], batch.probs_mnchw)
        tally.add(batch.cut(probs), labels_nhw, batch.cut(decided), strip=batch.strip)
        probs = fitted(batch.probs_mnchw)
        in_sample.add(batch.cut(probs), labels_nhw, batch.cut(fitted.decide(probs)), strip=batch.strip)
        systems = [(average_nkk, uniform(batch.probs_mnchw)), *zip(members_mnkk, batch.probs_mnchw, strict=True)]
        for confusions_nkk, probs in systems:
            confusions_nkk[rows] += confusion_per_image(labels_nhw, first_class(batch.cut(probs)), classes)
        progress(f"recomputing {ensemble.name}", rows.stop, count)
    best_n = best_elsewhere(members_mnkk, fold_n, lambda confusions: mean_iou(confusions.sum(1)))
    best_member_nkk = members_mnkk[best_n, np.arange(count)]
    return _Pooled(tally.arrays(), in_sample.basics(), average_nkk, members_mnkk, best_member_nkk)


def _verdict_again(ensemble: Ensemble, run: ImageTables, pooled: _Pooled) -> dict[str, Any]:
    """Return the parts of the verdict that follow from the tables."""
    best = int(np.nanargmax(mean_iou(pooled.members_mnkk.sum(1))))
    systems = {
        "method": run.tables["confusions"],
        "average": pooled.average_nkk,
        "best member": pooled.best_member_nkk,
        "member": pooled.members_mnkk[best],
    }
    method = ensemble.scores["verdict"]["method"]
    name = ensemble.settings.members[best]
    twin = ensemble.members()[best].settings.refit_of  # the verdict of a refit is that of its twin
    found = judge(method, twin or name, systems, run.groups, run.classes).to_json()
    return {name: value for name, value in found.items() if name != "notes"}  # some of which come from elsewhere


# ---------------------------------------------------------------- comparing


def _other_tables(
    run: str, stored: Mapping[str, NDArray[Any]], made: Mapping[str, NDArray[Any]], share: float
) -> Iterator[Difference]:
    """Yield the tables that differ by more than a share of their sum."""
    for name, values in made.items():
        away_n = np.abs(values - stored[name]).reshape(len(values), -1).sum(1)
        if away_n.sum() > share * np.abs(values).sum():
            image = int(away_n.argmax())
            sums = (float(table[image].sum()) for table in (stored[name], values))
            yield Difference(
                run, f"the table {name} of {np.count_nonzero(away_n)} images (sum of image {image})", *sums
            )


def _differing(made: Any, stored: Any, cell: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield name, stored and recomputed value of all that differs, in dictionaries of any depth.

    What is not stored claims nothing: earlier versions knew fewer scores.
    """
    if isinstance(made, Mapping) and isinstance(stored, Mapping):
        for name, value in made.items():
            if name in stored:
                yield from _differing(value, stored[name], f"{cell}, {name}" if cell else str(name))
    elif not _same(made, stored):
        yield cell, stored, made


def _same(made: Any, stored: Any) -> bool:
    if isinstance(made, float) or isinstance(stored, float):
        if made is None or stored is None:
            return all(value is None or math.isnan(value) for value in (made, stored))
        return isinstance(stored, float | int) and abs(made - stored) <= TOLERANCE
    if isinstance(made, Sequence) and not isinstance(made, str):
        return isinstance(stored, Sequence) and len(made) == len(stored) and all(map(_same, made, stored))
    return made == stored
