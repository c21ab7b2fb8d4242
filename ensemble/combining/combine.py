"""Combine members: fit a method, score it by cross-fitting, judge it, and save the ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ensemble.combining.advice import AVERAGE
from ensemble.combining.alignment import Aligned, align
from ensemble.combining.budget import Budget
from ensemble.combining.cheaper import RIVAL, budget_note, budget_numbers, cascade_note, full_note, promise_of
from ensemble.combining.crossfit import CrossFit, cross_fit_all
from ensemble.combining.ensemble_settings import choose_folds, look_at, pool_settings
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.quality import measure_quality
from ensemble.combining.save_ensemble import save_ensemble
from ensemble.combining.verdict import Verdict, judge_against_members
from ensemble.combining.verdict_notes import decision_note, objects_note
from ensemble.combining.weight_table import read_weights
from ensemble.config import Calibrate, Decide, DecideFrom, SmallestObject
from ensemble.core.errors import EnsError
from ensemble.core.files import check_folder
from ensemble.core.progress import Progress, no_progress
from ensemble.data.rarest import rarest_class_overall
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.layout import ensembles_folder, members_folder
from ensemble.runs.member import Member
from ensemble.runs.select import choose_members


@dataclass(frozen=True)
class Combination:
    """Result of `combine`: the ensemble on disk, its verdict, the fits and scores, and the members' stores.

    ``removed`` names what other commands had made in the directory of an ensemble that has changed since. ``looks`` is
    the number of variants that have been judged on these images so far, with this one (see `ensemble.runs.looks`).
    """

    ensemble: Ensemble
    verdict: Verdict
    fitted: CrossFit
    aligned: Aligned
    removed: tuple[str, ...] = ()
    looks: int = 1


def combine(
    members: Sequence[str | Path | Member] = (),
    *,
    method: str | None = None,
    weights: str | Path | None = None,
    calibrate: Calibrate = "none",
    decide: Decide = "argmax",
    decide_from: DecideFrom = "validation",
    smallest_object: SmallestObject = None,
    top: int | None = None,
    drop: Sequence[str | Path] = (),
    within: Budget | None = None,
    keep_gain: float | None = None,
    folds: int | None = None,
    seed: int = 0,
    runs: str | Path = "runs",
    progress: Progress = no_progress,
) -> Combination:
    """Combine members: fit on their validation probabilities, score by cross-fitting, judge, and save the ensemble.

    Args:
        members: members by name, unique beginning of the name or path, or opened members; by default all of the newest
            data set.
        method: a registered method with its options, such as ``greedy(bags=20)`` or ``weighted(weights=[2, 1, 1])``;
            see ``ensemble.combining.COMBINERS``. By default ``learned``.
        weights: a table (CSV) instead of a method: the column ``member``, and ``weight`` or a column per class. It
            names the members if none are given. The ensemble records all weights, in its settings.
        calibrate: temperatures to fit: for the ``members``, for the ``pool``, for ``both``, or ``none``. With the
            default ``none`` a method does only what its name says. A temperature after pooling corrects the
            probabilities and changes no class map.
        decide: ``argmax``; ``offsets`` to fit the class offsets that maximise the mIoU; or ``expected-iou`` or
            ``expected-dice`` for the class maps with the largest expected mean IoU or Dice, see
            `ensemble.combining.decision.Decision`. These two need probabilities that are right: consider ``calibrate``.
        decide_from: whose expected scores these two use: those of the ``validation`` images of the fit, or those of the
            ``images`` that are predicted, all together.
        smallest_object: pixels of the smallest object (connected region of a class) that stays in class maps; ``auto``
            for a number per class that is fitted, and cross-fitted, to maximise the mIoU. By default all stay.
        top: number of members to keep, the best by mIoU; the selection is cross-fitted like everything else.
        drop: members to leave out.
        within: what one image may cost, from `ensemble.measure_budget` or with your own costs. The best members and
            weights within it are combined, and judged against the full ensemble and the best member that fits. If all
            members fit together, the full ensemble is combined as without a budget.
        keep_gain: share of the gain in log-loss over the best member that a cascade keeps, such as 0.95: members run
            one after another, and an image that is sure enough needs no more. By default all members predict all.
        folds: folds of the cross-fitted score; by default 5, or the number of image groups if there are fewer.
        seed: seed of these folds.
        runs: folder for runs; the ensemble is saved in its ``ensembles``.
        progress: callback that receives the progress.

    Raises:
        EnsError: fewer than two members, members that do not fit together, an unknown method, options that do not fit
            the members, a table of weights that does not fit them, or a folder that cannot be written.
    """
    runs = Path(runs)
    table = None if weights is None else read_weights(weights)
    if table is not None and method is not None:
        raise EnsError(f"expected a method or a table of weights, got {method} and {table.path}; leave one of them out")
    method = method or ("learned" if table is None else "weighted")
    pipeline = Pipeline(method, calibrate, decide, top, decide_from, smallest_object, within, keep_gain)
    opened = choose_members(runs, members or (table.members if table else ()), drop)
    _check_folder(opened, runs)
    check_folder(ensembles_folder(runs))
    aligned = align(opened)
    if top is not None and top >= aligned.members:  # all are kept, as without it
        pipeline = replace(pipeline, top=None)
    if table is not None:
        pipeline = replace(pipeline, method=table.method(aligned.names, aligned.classes, runs))
    budget = None if within is None else within.among(aligned.names)
    leaves_out = budget is not None and not budget.holds_all  # else this is the full ensemble, and no other variant
    pipeline = replace(pipeline, budget=budget if leaves_out else None)
    folds = choose_folds(aligned, folds)
    pipelines = [pipeline] if pipeline == pipeline.full else [pipeline, pipeline.full]
    fitted, *others = cross_fit_all(aligned, pipelines, folds=folds, seed=seed, quality=True, progress=progress)
    full = others[0] if others else None
    assert fitted.quality is not None  # asked for above
    quality = measure_quality(fitted.quality, aligned)
    verdict, cheaper = _judge(aligned, pipeline, fitted, full)
    settings = pool_settings(aligned, opened[0], pipeline, folds, seed)
    path = ensembles_folder(runs) / settings.directory_name()
    removed = save_ensemble(path, settings, fitted, full, aligned, verdict, quality, opened, cheaper)
    looks = look_at(runs, [settings])
    if budget is not None and not leaves_out:
        note = full_note(budget, float(budget.costs_m[fitted.pool.used].sum()))
        verdict = replace(verdict, notes=(note, *verdict.notes))
    return Combination(Ensemble.open(path), verdict, fitted, aligned, removed, looks)


def _judge(
    aligned: Aligned, pipeline: Pipeline, fitted: CrossFit, full: CrossFit | None
) -> tuple[Verdict, dict[str, Any]]:
    """Return the verdict, and what a budget or a cascade saves and costs, by name.

    The rival is the average; that of a budget or a cascade is the same method without it. With a budget, the best
    member is the best one that fits.
    """
    fitting = list(range(aligned.members)) if pipeline.budget is None else pipeline.budget.fitting
    verdict = judge_against_members(
        pipeline.label,
        [aligned.names[place] for place in fitting],
        fitted.crossfit.confusions_nkk,
        (full.crossfit if full else fitted.average).confusions_nkk,
        fitted.members_mnkk[fitting],
        fitted.fold_n,
        aligned.groups,
        aligned.classes,
        rival=RIVAL if full else AVERAGE,
    )
    found, notes = dict[str, Any](), list[str]()
    if full and pipeline.budget is not None:
        found["budget"] = budget_numbers(pipeline.budget, fitted.pool, full.pool)
        notes.append(budget_note(pipeline.budget, found["budget"], verdict))
    if fitted.stopped is not None:
        promise = promise_of(fitted.stopped, aligned.groups)
        found["cascade"] = promise.to_json()
        notes.append(cascade_note(promise, verdict))
    return replace(verdict, notes=(*notes, *verdict.notes, *_fit_notes(aligned, pipeline, fitted))), found


def _fit_notes(aligned: Aligned, pipeline: Pipeline, fitted: CrossFit) -> list[str]:
    """Return notes on a decision that expects too much, on objects of the rarest class, and on near copies."""
    rarest = rarest_class_overall(fitted.members_mnkk[0].sum(2))
    ours, averaged = (tally.arrays()["objects"].sum(2) for tally in (fitted.crossfit, fitted.average))
    found = objects_note(pipeline.label, ours, averaged, aligned.groups, aligned.classes[rarest], rarest)
    caution = decision_note(fitted.pool.decision, fitted.crossfit.confusions_nkk.sum(0))
    return [*filter(None, [caution]), found, *fitted.copies]


def _check_folder(members: Sequence[Member], runs: Path) -> None:
    """Refuse members of other runs: an ensemble stores names, and later looks for them next to its own folder."""
    folder = members_folder(runs)
    for member in members:
        if member.path.parent.resolve() != folder.resolve():
            raise EnsError(
                f"{member.name} is not in {folder}, where the ensemble would look for it; pass the folder that holds it"
                " as runs, or copy its directory there"
            )
