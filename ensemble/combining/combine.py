"""Combine members: fit, score by cross-fitting, judge, and save the ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ensemble.combining.alignment import Aligned, align
from ensemble.combining.crossfit import CrossFit, cross_fit
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.verdict import Verdict, judge
from ensemble.config import Calibrate, Decide, PoolSettings
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.confusion import mean_iou
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.layout import ensembles_folder, members_folder
from ensemble.runs.member import Member
from ensemble.runs.select import choose_members
from ensemble.runs.status import finish_run, is_complete, write_config

DEFAULT_FOLDS = 5


@dataclass(frozen=True)
class Combination:
    """What ``combine`` returns: the ensemble on disk, and what was found on the way."""

    ensemble: Ensemble
    verdict: Verdict
    fitted: CrossFit
    aligned: Aligned


def combine(
    members: Sequence[str | Path] = (),
    *,
    method: str = "learned",
    weights: str | Sequence[float] | None = None,
    options: Mapping[str, Any] | None = None,
    calibrate: Calibrate = "none",
    decide: Decide = "argmax",
    top: int | None = None,
    drop: Sequence[str | Path] = (),
    folds: int | None = None,
    runs: str | Path = "runs",
    progress: Progress = no_progress,
) -> Combination:
    """Combine members (all of the newest data set where none are named), judge the ensemble and save it.

    Args:
        members: members by name, unique beginning or path.
        method: a registered method; see ``ensemble.combining.COMBINERS``.
        weights: weights of the method ``weighted``, in the order of the members.
        options: options of the method by name.
        calibrate: temperatures fitted for the ``members``, for the ``pool``, for ``both``, or ``none``: the default,
            for a method is then what its name says, and a temperature after pooling makes the probabilities right
            without changing a class map.
        decide: ``argmax``, or ``offsets`` of the classes that maximise mIoU.
        top: keep this many members, the best by mIoU; the choice is cross-fitted like everything else.
        drop: members to leave out.
        folds: folds of the cross-fitted score.
        runs: folder for runs.
        progress: callback that receives the progress.

    Raises:
        EnsError: fewer than two members, members that do not fit together, weights that do not fit the members.
    """
    given = dict(options or {})
    if weights is not None:
        if method != "weighted":
            raise EnsError(f"--weights goes with --method weighted, got --method {method}; drop one of the two")
        if top is not None:
            raise EnsError("expected --weights or --top, got both; --top chooses members, --weights counts on them all")
        given["weights"] = _numbers(weights)
    chosen = choose_members(Path(runs), members, drop)
    return combine_members(
        chosen,
        method,
        given,
        calibrate=calibrate,
        decide=decide,
        top=top,
        runs=Path(runs),
        folds=folds,
        progress=progress,
    )


def _numbers(weights: str | Sequence[float]) -> tuple[float, ...]:
    parts = weights.split(",") if isinstance(weights, str) else weights
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        raise EnsError(f"expected weights as numbers separated by commas, such as 2,1,1, got '{weights}'") from None


def _check_place(members: Sequence[Member], runs: Path) -> None:
    """An ensemble names its members and looks for them beside itself: members of other runs would be lost."""
    place = members_folder(runs)
    for member in members:
        if member.path.parent.resolve() != place.resolve():
            raise EnsError(
                f"{member.name} is not in {place}, where the ensemble would look for it; give --runs with the folder"
                " that holds it, or copy its directory there"
            )


def combine_members(
    members: Sequence[Member],
    method: str = "learned",
    options: Mapping[str, Any] | None = None,
    *,
    calibrate: Calibrate = "none",
    decide: Decide = "argmax",
    top: int | None = None,
    runs: Path = Path("runs"),
    folds: int | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Combination:
    """Fit a method on the members' validation probabilities, score it by cross-fitting, judge it, and save it.

    Args:
        members: two or more members of one data set and split.
        method: a registered combiner.
        options: its options.
        calibrate: temperatures that are fitted: ``none``, ``members``, ``pool`` or ``both``.
        decide: ``argmax``, or ``offsets`` that maximise the mIoU.
        top: number of members to keep; all where left out.
        runs: folder for runs; the ensemble is saved in its ``ensembles``.
        folds: folds of the cross-fitted score; 5, or as many as there are groups of images.
        seed: seed of these folds.
        progress: callback that receives the progress.

    Raises:
        EnsError: members that do not fit together, a method or options that are none, an unwritable folder.
    """
    pipeline = Pipeline(method, options or {}, calibrate, decide, top)
    _check_place(members, runs)
    aligned = align(members)
    folds = choose_folds(aligned, folds)
    fitted = cross_fit(aligned, pipeline, folds=folds, seed=seed, progress=progress)
    best = int(np.nanargmax(mean_iou(fitted.members_mnkk.sum(1))))
    systems = {
        "method": fitted.crossfit.confusions_nkk,
        "average": fitted.average.confusions_nkk,
        "best member": fitted.best_member_nkk,
        "member": fitted.members_mnkk[best],
    }
    verdict = judge(pipeline.label, aligned.names[best], systems, aligned.groups, aligned.classes)
    settings = _settings(aligned, members[0], pipeline, folds, seed)
    ensemble = _save(ensembles_folder(runs) / settings.directory_name(), settings, fitted, aligned, verdict, members)
    return Combination(ensemble, verdict, fitted, aligned)


def find_ensemble(
    members: Sequence[Member], pipeline: Pipeline, runs: Path = Path("runs"), folds: int | None = None, seed: int = 0
) -> Ensemble | None:
    """The ensemble that `combine_members` would make by this pipeline, where it is there already."""
    aligned = align(members)
    settings = _settings(aligned, members[0], pipeline, choose_folds(aligned, folds), seed)
    path = ensembles_folder(runs) / settings.directory_name()
    return Ensemble.open(path) if is_complete(path) else None


def _settings(aligned: Aligned, first: Member, pipeline: Pipeline, folds: int, seed: int) -> PoolSettings:
    return PoolSettings(
        members=aligned.names,
        method=pipeline.method,
        options=dict(pipeline.options),
        calibrate=pipeline.calibrate,
        decide=pipeline.decide,
        top=pipeline.top,
        data_hash=first.facts.data_hash,
        split_hash=first.facts.split_hash,
        crossfit_folds=folds,
        seed=seed,
    )


def choose_folds(aligned: Aligned, folds: int | None) -> int:
    """Folds of the cross-fitted score: as given, or 5, or as many as there are groups.

    Raises:
        EnsError: one group only.
    """
    groups = len(set(aligned.groups))
    if groups < 2:
        raise EnsError(
            "expected validation images of at least 2 groups, to fit on some and score on others, got 1;"
            " train the members with more validation images"
        )
    return folds or min(DEFAULT_FOLDS, groups)


def _save(
    path: Path, settings: PoolSettings, fitted: CrossFit, aligned: Aligned, verdict: Verdict, members: Sequence[Member]
) -> Ensemble:
    facts = members[0].facts
    ignored = facts.keras_ignored
    background = None if ignored is None else _position(aligned.classes, facts.classes[ignored])
    scores = fitted.crossfit.scores(aligned.groups, aligned.classes, background)
    scores["protocol"] = f"cross-fitted over {settings.crossfit_folds} folds"
    in_sample = fitted.in_sample.scores(aligned.groups, aligned.classes, background, resamples=1)
    scores["in_sample"] = {key: in_sample[key] for key in ("miou", "log_loss", "ece")}
    scores["verdict"] = verdict.to_json()
    scores["selected"] = _selected(members)
    scores["data"] = facts.name
    content = {"settings": settings.model_dump(mode="json"), "pool": fitted.pool.to_json(), "classes": aligned.classes}
    write_config(path, "ensemble", content)
    finish_run(path, "ensemble", scores, fitted.crossfit.arrays())
    return Ensemble.open(path)


def _selected(members: Sequence[Member]) -> bool | None:
    """Whether an epoch of some member was chosen on the images scored here; None where that is not known of all."""
    flags = [member.scores.get("selected") for member in members]
    return True if True in flags else None if None in flags else False


def _position(names: Sequence[str], name: str) -> int | None:
    return list(names).index(name) if name in names else None
