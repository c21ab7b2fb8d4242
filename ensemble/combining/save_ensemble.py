"""Write an ensemble to its directory, and keep there what other commands made if it is still the same ensemble."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ensemble.combining.alignment import Aligned
from ensemble.combining.crossfit import CrossFit
from ensemble.combining.quality import MeasuredQuality
from ensemble.combining.verdict import Verdict
from ensemble.config import PoolSettings
from ensemble.core.errors import EnsError
from ensemble.core.locks import whole_folder
from ensemble.runs.member import Member
from ensemble.runs.status import digests_of, finish_run, read_status, write_config


def save_ensemble(
    path: Path,
    settings: PoolSettings,
    fitted: CrossFit,
    full: CrossFit | None,
    aligned: Aligned,
    verdict: Verdict,
    quality: MeasuredQuality,
    members: Sequence[Member],
    cheaper: Mapping[str, Any],
) -> tuple[str, ...]:
    """Write an ensemble with its scores and tables.

    Args:
        path: its directory.
        settings: its settings.
        fitted: its fit.
        full: the fit of the full ensemble that a budget or a cascade is judged against; None for other ensembles.
        aligned: the stores of its members.
        verdict: its verdict.
        quality: what estimates the IoU of images without masks, and its scores.
        members: its members.
        cheaper: what a budget or a cascade saves and costs, by name.

    Returns:
        What other commands had made in the directory and no longer fits; it is removed.

    Raises:
        EnsError: the directory cannot be written.
    """
    content = {
        "settings": settings.model_dump(mode="json"),
        "members": {member.name: member.fingerprint for member in members},
        "pool": fitted.pool.to_json(),
        "quality": quality.quality.to_json(),
        "classes": aligned.classes,
        "used": [members[m].name for m in fitted.pool.used],
        "fold_pools": [pool.to_json() for pool in fitted.fold_pools],
    }
    tables = fitted.crossfit.arrays() | {"fold": fitted.fold_n, "quality": quality.found_nk3}
    if full:  # so that the verdict can be recomputed
        content["rival_pools"] = [pool.to_json() for pool in (full.pool, *full.fold_pools)]
        tables["rival_confusions"] = full.crossfit.confusions_nkk
    if fitted.stopped:
        tables |= fitted.stopped.arrays()
    scores = fitted.crossfit.scores(aligned.groups, aligned.classes, _ignored_class(aligned, members[0]))
    scores |= {
        "protocol": f"cross-fitted over {settings.crossfit_folds} folds",
        "in_sample": fitted.in_sample.basics(),
        "verdict": verdict.to_json(),
        "quality": quality.scores,
        "selected": _selected(members),
        "data": members[0].facts.name,
        **cheaper,
    }
    with whole_folder(path) as unfinished:
        write_config(unfinished, "ensemble", content, path.name)
        finish_run(unfinished, "ensemble", scores, tables)
        return _take_over(path, unfinished)


def _take_over(path: Path, unfinished: Path) -> tuple[str, ...]:
    """Copy what other commands made in the directory, such as ``explain``, to the same ensemble; else name it."""
    entries = sorted(path.iterdir()) if path.is_dir() else []
    more = [entry for entry in entries if entry.name[0] != "." and not (unfinished / entry.name).exists()]
    with suppress(EnsError):  # the status of the old ensemble may be damaged
        if more and digests_of(read_status(path)) == digests_of(read_status(unfinished)):
            for entry in more:
                copy = shutil.copytree if entry.is_dir() else shutil.copy2
                copy(entry, unfinished / entry.name)
            return ()
    return tuple(entry.name for entry in more)


def _selected(members: Sequence[Member]) -> bool | None:
    """Return whether an epoch of a member was selected on the scored images; None if this is unknown."""
    flags = [member.scores.get("selected") for member in members]
    return True if True in flags else None if None in flags else False


def _ignored_class(aligned: Aligned, member: Member) -> int | None:
    """Return the place of the class that Keras ignores among the combined ones; None if it is not one of them."""
    ignored = member.facts.keras_ignored
    name = None if ignored is None else member.facts.classes[ignored]
    return aligned.classes.index(name) if name in aligned.classes else None
