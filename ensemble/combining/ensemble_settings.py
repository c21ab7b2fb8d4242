"""The settings of an ensemble: its folds, its name on disk, and how many variants have been judged so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ensemble.combining.alignment import Aligned, align
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.registry import COMBINERS
from ensemble.config import PoolSettings
from ensemble.core.errors import EnsError
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.layout import ensembles_folder
from ensemble.runs.looks import record_variants
from ensemble.runs.member import Member
from ensemble.runs.status import is_complete

DEFAULT_FOLDS = 5


def choose_folds(aligned: Aligned, folds: int | None) -> int:
    """Return the number of folds: as given, else 5, or the number of image groups if that is smaller.

    Raises:
        EnsError: there is only one group.
    """
    groups = len(set(aligned.groups))
    if groups < 2:
        raise EnsError(
            "expected validation images of at least 2 groups, to fit on some and score on others, got 1 group;"
            " train the members with more validation images"
        )
    return folds or min(DEFAULT_FOLDS, groups)


def pool_settings(aligned: Aligned, first: Member, pipeline: Pipeline, folds: int, seed: int) -> PoolSettings:
    """Return the settings of an ensemble of aligned members, of which ``first`` is one."""
    return PoolSettings(
        members=aligned.names,
        method=pipeline.name,
        options=pipeline.options,
        calibrate=pipeline.calibrate,
        decide=pipeline.decide,
        decide_from=pipeline.decide_from,
        smallest_object=pipeline.smallest_object,
        top=pipeline.top,
        within=None if pipeline.budget is None else pipeline.budget.text,
        keep_gain=pipeline.keep_gain,
        data_hash=first.facts.data_hash,
        split_hash=first.facts.split_hash,
        crossfit_folds=folds,
        seed=seed,
    )


def find_ensemble(members: Sequence[Member], pipeline: Pipeline, runs: Path) -> Ensemble | None:
    """Return the finished ensemble that `combine` would make with its own folds; None if members changed since.

    Args:
        members: the members, in the order in which they would be combined.
        pipeline: the settings of the combination.
        runs: folder for runs.

    Raises:
        EnsError: members that cannot be combined.
    """
    aligned = align(members)
    settings = pool_settings(aligned, members[0], pipeline, choose_folds(aligned, None), seed=0)
    path = ensembles_folder(runs) / settings.directory_name()
    ensemble = Ensemble.open(path) if is_complete(path) else None
    fitted_on = {} if ensemble is None else ensemble.fingerprints
    changed = [member for member in members if fitted_on.get(member.name, member.fingerprint) != member.fingerprint]
    return None if changed else ensemble


def look_at(runs: Path, settings: Sequence[PoolSettings]) -> int:
    """Record variants that are judged on one split, and return how many have been judged on it so far.

    Options that are given as their defaults make no other variant.
    """
    for_record: list[PoolSettings] = []
    for one in settings:
        known = COMBINERS.options(one.method)
        options = {name: value for name, value in one.options.items() if value != known[name].default}
        for_record.append(one.model_copy(update={"options": options}))
    return record_variants(runs, for_record)
