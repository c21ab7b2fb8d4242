"""Refit: train on all labelled images what cross-validation has chosen; the score stays that of the twin."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ensemble.core.arrays import read_npz
from ensemble.core.errors import EnsError
from ensemble.core.locks import locked, whole_folder
from ensemble.core.progress import Progress, no_progress
from ensemble.data import Split
from ensemble.inference.hardware import torch_threads
from ensemble.inference.network import load_network
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.folder import find_run
from ensemble.runs.layout import CONFUSIONS, REFIT_ENDING, is_run, store_folder, weights_name
from ensemble.runs.member import Member
from ensemble.runs.status import finish_run, is_complete, read_config, read_status, remove_command, write_config
from ensemble.training.determinism import deterministic
from ensemble.training.member_writer import MemberWriter
from ensemble.training.plan import Plan
from ensemble.training.plan_again import check_sources, plan_of
from ensemble.training.predictions import predict_test
from ensemble.training.train import tidy


@dataclass(frozen=True)
class Refit:
    """Result of `refit`.

    Attributes:
        path: directory of the refitted member or ensemble.
        twin: name of the member or ensemble whose settings and score it has.
        images: number of images that its networks learned from.
        before: number of images that a network of the twin learned from, on average.
    """

    path: Path
    twin: str
    images: int
    before: float


def refit(
    model: str | Path,
    *,
    data: str | Path | None = None,
    runs: str | Path = "runs",
    progress: Progress = no_progress,
    on_plan: Callable[[Plan, Member], None] | None = None,
) -> Refit:
    """Train a member, or all members that an ensemble uses, again on all labelled images of their data.

    Nothing is chosen again: epochs, weights of the pool, temperatures and decision are those of the twin. Images that
    the twin left out of training on purpose, and those of a vault, stay out. No image is left to score the result, so
    it keeps the scores, the stored probabilities and the verdict of the twin, and its name and its protocol say so. An
    interrupted training is resumed by the same call.

    Args:
        model: member or ensemble, by name, unique beginning or path.
        data: new location of the data, if they moved.
        runs: folder for runs.
        progress: callback that receives the progress.
        on_plan: called with each plan and the twin before a member is trained.

    Raises:
        EnsError: the model is a refit, was imported, or keeps its best epoch; its data have changed; or training fails.
    """
    path = find_run(model, runs)
    if read_status(path).get("kind") != "ensemble":
        return _refit_member(Member.open(path), data, progress, on_plan)
    ensemble = Ensemble.open(path)
    config = read_config(path, read_status(path))
    if "refit_of" in config:
        raise EnsError(f"{path.name} is a refit already; give its twin {config['refit_of']}")
    used = set(config.get("used", ensemble.settings.members))
    twins = [member for member in ensemble.members() if member.name in used]
    for twin in twins:  # before the first one is trained
        _check_settings(twin)
        check_sources(twin)
    made = {twin.name: _refit_member(twin, data, progress, on_plan) for twin in twins}
    images, before = (float(np.mean([getattr(one, name) for one in made.values()])) for name in ("images", "before"))
    names = {twin: one.path.name for twin, one in made.items()}
    return Refit(_write_ensemble(ensemble, config, names), ensemble.name, int(images), before)


def _refit_member(
    twin: Member, data: str | Path | None, progress: Progress, on_plan: Callable[[Plan, Member], None] | None
) -> Refit:
    settings = twin.settings
    _check_settings(twin)
    cross_validated = plan_of(twin, data, progress)
    folds = cross_validated.split.validation
    split = Split(
        (np.zeros(0, np.int64),), cross_validated.split.total, twin.facts.split_hash, cross_validated.split.vault
    )
    all_images = settings.data.model_copy(update={"folds": None})
    again = settings.model_copy(update={"refit_of": twin.name, "data": all_images, "processes": 1})
    plan = replace(cross_validated, settings=again, split=split, path=twin.path.with_name(twin.name + REFIT_ENDING))
    if is_run(plan.path) and is_complete(plan.path):
        if Member.open(plan.path).fingerprint != twin.fingerprint:
            raise EnsError(
                f"{plan.path} is a refit of another {twin.name}; remove it with `{remove_command(plan.path)}`, and"
                " repeat the command"
            )
    else:
        if on_plan:
            on_plan(plan, twin)
        _train(plan, twin, progress)
    before = float(np.mean([len(cross_validated.training_rows(fold)) for fold in range(len(folds))]))
    return Refit(plan.path, twin.name, len(plan.training_rows(0)), before)


def _check_settings(twin: Member) -> None:
    settings = twin.settings
    if settings.refit_of:
        raise EnsError(f"{twin.name} is a refit already; give its twin {settings.refit_of}")
    if settings.trained_elsewhere:
        raise EnsError(
            f"{twin.name} was imported, and nobody here knows how it was trained; train a member of its architecture"
            " with `ens train`, and refit that member"
        )
    if settings.keep == "best":
        raise EnsError(
            f"{twin.name} keeps its best epoch, and without validation images nobody knows which one that is; train it"
            " with keep last, and refit that member"
        )


def _train(plan: Plan, twin: Member, progress: Progress) -> None:
    settings = plan.settings
    with locked(plan.path):
        run = MemberWriter(plan)
        with (
            run.record_outcome(),
            torch_threads(settings.threads),
            deterministic(settings.deterministic, settings.device),
        ):
            run.train(0, run.start(progress), progress)
            network = load_network(settings, plan.facts, plan.path / weights_name(0), settings.device)
            predict_test(plan, [network], progress)
            twin.store()  # refuses probabilities that were exchanged
            place = store_folder(plan.path, "validation")
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(store_folder(twin.path, "validation"), place)
            cost = {name: twin.status[name] for name in ("gflops", "latency_ms") if name in twin.status}
            run.complete(scores_of_twin(twin.scores, twin.name), read_npz(twin.path / CONFUSIONS), cost)
    tidy(plan.path)


def scores_of_twin(scores: dict[str, Any], twin: str) -> dict[str, Any]:
    """Return the scores of a twin with a protocol that says whose they are."""
    return scores | {"protocol": f"{scores.get('protocol')} of its twin", "twin": twin}


def _write_ensemble(ensemble: Ensemble, config: dict[str, Any], names: dict[str, str]) -> Path:
    """Write an ensemble of the refitted members; members without a weight stay as they are, for nobody asks them."""
    path = ensemble.path.with_name(ensemble.name + REFIT_ENDING)
    content = {key: value for key, value in config.items() if key not in ("format_version", "kind", "name")}
    content["settings"] = content["settings"] | {
        "members": [names.get(name, name) for name in ensemble.settings.members]
    }
    content["members"] = {names.get(name, name): value for name, value in ensemble.fingerprints.items()}
    content["used"] = [names.get(name, name) for name in config.get("used", ensemble.settings.members)]
    content["refit_of"] = ensemble.name
    with whole_folder(path) as unfinished:
        write_config(unfinished, "ensemble", content, path.name)
        tables = read_npz(ensemble.path / CONFUSIONS)
        finish_run(unfinished, "ensemble", scores_of_twin(ensemble.scores, ensemble.name), tables)
    return path
