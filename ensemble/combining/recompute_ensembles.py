"""Recompute the tables and the verdict of an ensemble from the stored probabilities and labels of its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.advice import AVERAGE
from ensemble.combining.alignment import Aligned, align
from ensemble.combining.arithmetic import first_class
from ensemble.combining.budget import Budget
from ensemble.combining.by_fold import apply_by_fold
from ensemble.combining.cascade import Cascade
from ensemble.combining.cheaper import RIVAL, budget_numbers, promise_of
from ensemble.combining.combiner import Combiner
from ensemble.combining.differences import OTHER_PROCESSOR, Difference, other_tables
from ensemble.combining.pool import Pool
from ensemble.combining.serialization import load_combiner
from ensemble.combining.stopping import StoppedEarly, stopped_early
from ensemble.combining.verdict import judge_against_members
from ensemble.core.progress import Progress
from ensemble.evaluation.confusion import confusion_per_image
from ensemble.evaluation.tally import Tally
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.tables import ImageTables


def recheck_ensemble(
    ensemble: Ensemble, run: ImageTables, progress: Progress
) -> tuple[list[Difference], dict[str, Any]]:
    """Return the tables that differ, and what only the scores of an ensemble hold, computed again.

    That is ``in_sample``, ``verdict`` without its notes, some of which come from elsewhere, and what a budget or a
    cascade saves and costs.

    Args:
        ensemble: an ensemble with the pools of its folds.
        run: its tables.
        progress: callback that receives the progress.

    Raises:
        EnsError: it lacks a member, or its pools are damaged.
    """
    pools = _Pools.of(ensemble)
    pooled = _pool_again(ensemble, pools, run, progress)
    found = list(other_tables(ensemble.name, run.tables, pooled.tables, OTHER_PROCESSOR))
    made: dict[str, Any] = {"in_sample": pooled.in_sample}
    if lacks_rival(ensemble):
        return found, made
    tables, fitting = {**run.tables, **pooled.tables} if found else run.tables, list(range(len(pooled.members_mnkk)))
    if ensemble.settings.within is not None:
        budget = stored_budget(ensemble)
        if budget is None:
            asked = f"a limit of {ensemble.settings.within}, and a cost of every member"
            return [*found, Difference(ensemble.name, "budget", ensemble.scores.get("budget"), asked)], made
        made["budget"], fitting = budget_numbers(budget, pools.fitted, pools.rival[0]), budget.fitting
    if pools.cascades:
        thresholds, keep = pools.cascades[0].thresholds, cast(float, ensemble.settings.keep_gain)
        made["cascade"] = promise_of(StoppedEarly.from_arrays(tables, thresholds, keep), run.groups).to_json()
    made["verdict"] = _verdict_again(ensemble, run, pooled, tables, fitting)
    return found, made


def lacks_rival(ensemble: Ensemble) -> bool:
    """Return whether an ensemble is judged against a full one whose pools an earlier version did not store."""
    return ensemble.is_cheaper and not ensemble.rival_pools


def stored_budget(ensemble: Ensemble) -> Budget | None:
    """Return the budget of an ensemble with its measured costs; None if its scores hold another one, or none.

    Costs are recorded. What follows from them is which members fit, and the sums.
    """
    _, _, by = str(ensemble.settings.within).partition(" by ")
    try:
        found = ensemble.scores["budget"]
        costs = {str(name): float(cost) for name, cost in found["costs"].items()}
        budget = Budget(float(found["limit"]), str(found["unit"]), costs, cast(Any, by or "miou"))
        fits = budget.text == ensemble.settings.within and len(costs) == len(ensemble.settings.members)
        return budget if fits and budget.fitting else None
    except (AttributeError, KeyError, TypeError, ValueError):  # an EnsError is a ValueError
        return None


@dataclass(frozen=True)
class _Pools:
    """The stored combiners of an ensemble: of all images, of each fold, and of the full ensemble as its rival."""

    fitted: Combiner
    folds: Sequence[Combiner]
    rival: Sequence[Combiner]

    @classmethod
    def of(cls, ensemble: Ensemble) -> _Pools:
        stored = ensemble.fold_pools, ensemble.rival_pools
        return cls(load_combiner(ensemble.pool), *([load_combiner(pool) for pool in pools] for pools in stored))

    @property
    def reach(self) -> int:
        """Rows around a strip of an image that some combiner depends on."""
        return max(pool.reach for pool in (self.fitted, *self.folds, *self.rival))

    @property
    def cascades(self) -> list[Cascade]:
        """The cascade of all images, then those of the folds; none without a rival, or if a fold has another pool."""
        found = [pool for pool in (self.fitted, *self.folds) if isinstance(pool, Cascade)]
        return found if self.rival and len(found) == 1 + len(self.folds) else []


@dataclass(frozen=True)
class _Pooled:
    """What pooling the stored probabilities again gives."""

    tables: Mapping[str, NDArray[Any]]
    in_sample: dict[str, float]
    average_nkk: NDArray[np.int64]
    members_mnkk: NDArray[np.int64]


def _pool_again(ensemble: Ensemble, pools: _Pools, run: ImageTables, progress: Progress) -> _Pooled:
    """Pool each image with the pools that were fitted without its fold, and score it."""
    aligned, fold_n = align(ensemble.members()), run.tables["fold"]
    classes, count = len(aligned.classes), len(aligned.ids)
    uniform = Pool.uniform(aligned.members, classes)
    tally, in_sample = Tally(classes), Tally(classes, shapes=False)
    average_nkk, rival_nkk = np.zeros((2, count, classes, classes), np.int64)
    members_mnkk = np.zeros((aligned.members, count, classes, classes), np.int64)
    for batch in aligned.batches(halo=pools.reach):
        labels_nhw, rows = batch.labels_nhw, batch.rows
        probs, decided = apply_by_fold(pools.folds, fold_n[rows], batch.probs_mnchw)
        tally.add(batch.cut(probs), labels_nhw, batch.cut(decided), strip=batch.strip)
        probs = pools.fitted(batch.probs_mnchw)
        in_sample.add(batch.cut(probs), labels_nhw, batch.cut(pools.fitted.decide(probs)), strip=batch.strip)
        systems = [(average_nkk, first_class(uniform(batch.probs_mnchw)))]
        systems += zip(members_mnkk, map(first_class, batch.probs_mnchw), strict=True)
        if pools.rival:
            systems.append((rival_nkk, apply_by_fold(pools.rival[1:], fold_n[rows], batch.probs_mnchw)[1]))
        for confusions_nkk, decided in systems:
            confusions_nkk[rows] += confusion_per_image(labels_nhw, batch.cut(decided), classes)
        progress(f"recomputing {ensemble.name}", rows.stop, count)
    tables = tally.arrays() | ({"rival_confusions": rival_nkk} if pools.rival else {})
    return _Pooled(
        tables | _cascade_tables(ensemble, aligned, pools, fold_n, progress),
        *(in_sample.basics(), average_nkk, members_mnkk),
    )


def _cascade_tables(
    ensemble: Ensemble, aligned: Aligned, pools: _Pools, fold_n: NDArray[np.int64], progress: Progress
) -> dict[str, NDArray[np.float64]]:
    """Return what a cascade does to each image, see `StoppedEarly`; nothing for other ensembles."""
    if not pools.cascades:
        return {}
    keep = cast(float, ensemble.settings.keep_gain)
    return stopped_early(aligned, pools.cascades, fold_n, keep, progress).arrays()


def _verdict_again(
    ensemble: Ensemble, run: ImageTables, pooled: _Pooled, tables: Mapping[str, NDArray[Any]], fitting: Sequence[int]
) -> dict[str, Any]:
    """Return the parts of the verdict that follow from the tables, with the best of the members that fit."""
    members = ensemble.members()
    names = [members[place].settings.refit_of or members[place].name for place in fitting]  # the verdict is the twin's
    found = judge_against_members(
        ensemble.scores["verdict"]["method"],
        names,
        tables["confusions"],
        tables["rival_confusions"] if ensemble.is_cheaper else pooled.average_nkk,
        pooled.members_mnkk[list(fitting)],
        run.tables["fold"],
        run.groups,
        run.classes,
        rival=RIVAL if ensemble.is_cheaper else AVERAGE,
    ).to_json()
    return {name: value for name, value in found.items() if name != "notes"}  # some of which come from elsewhere
