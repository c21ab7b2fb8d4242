"""Recompute finished runs from their stored probabilities and labels, and name each score that differs.

A checksum shows that a file was not changed since its checksum was written; it does not show that the file is right.
This module computes the scores again, so it also finds a score that was edited together with its checksum.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ensemble.combining.differences import TOLERANCE, Difference, other_values
from ensemble.combining.recompute_ensembles import lacks_rival, recheck_ensemble
from ensemble.combining.recompute_members import COUNTS, recheck_member
from ensemble.core.errors import EnsError
from ensemble.core.files import read_object
from ensemble.core.progress import Progress, no_progress
from ensemble.core.threads import one_blas_thread
from ensemble.evaluation.keras_iou import keras_mean_iou
from ensemble.evaluation.scores import scores_of
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.folder import list_runs
from ensemble.runs.layout import SCORES, is_run
from ensemble.runs.member import Member
from ensemble.runs.status import is_complete, read_status
from ensemble.runs.tables import ImageTables, read_tables

NEEDED = frozenset({*COUNTS, "log_loss", "brier", "brier_per_class", "reliability", "reliability_per_class"})
"""Tables from which all scores follow; runs of earlier versions lack some."""


@dataclass
class Recomputation:
    """Result of `recompute_runs`.

    Attributes:
        runs: number of runs that were recomputed.
        differences: what differs.
        without_tables: names of the runs of earlier versions, which lack tables.
        without_rival: names of the ensembles of earlier versions whose verdict was not recomputed, because it is
            against a full ensemble whose pools they lack.
        failed: a sentence for each run that cannot be recomputed, because a member is missing or was replaced.
    """

    runs: int = 0
    differences: list[Difference] = field(default_factory=list[Difference])
    without_tables: list[str] = field(default_factory=list[str])
    without_rival: list[str] = field(default_factory=list[str])
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
            if read_status(path).get("kind") == "ensemble" and lacks_rival(Ensemble.open(path)):
                result.without_rival.append(path.name)
    return result


def recompute(path: Path, progress: Progress = no_progress) -> list[Difference] | None:
    """Return what differs in a finished run, or None if an earlier version wrote it without all tables.

    The tables of a member and of an ensemble are made again from stored probabilities and labels, and every score, its
    limits, and the verdict from these tables; with them those of the full ensemble that a budget or a cascade is judged
    against, unless an earlier version did not store its pools. The probabilities of an evaluation are not stored, so
    its scores are recomputed from its tables.

    Raises:
        EnsError: the run is damaged, or an ensemble lacks a member.
    """
    run, kind = read_tables(path), read_status(path).get("kind")
    if not run.tables.keys() >= NEEDED:
        return None
    scores = read_object(path / SCORES)
    found, made = list[Difference](), dict[str, Any]()
    # As in `cross_fit`: the sums of a product of matrices depend on the number of threads.
    with one_blas_thread():
        if kind == "member":
            found += recheck_member(Member.open(path), run, progress)
        elif kind == "ensemble":
            ensemble = Ensemble.open(path)
            if not ensemble.fold_pools:
                return None
            found, made = recheck_ensemble(ensemble, run, progress)
    made |= scores_of(run.tables, run.groups, run.classes, background_of(path, run))
    return [*found, *other_values(path.name, made, scores)]


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
