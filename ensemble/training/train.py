"""Train one member: every fold, then its probabilities and scores, in a directory that can be resumed at any time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ensemble.config import data_settings, parse_duration
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.locks import LOCK, OWNER, locked
from ensemble.core.progress import Progress, no_progress
from ensemble.inference.hardware import torch_threads
from ensemble.inference.network import gflops, load_network, to_tensor
from ensemble.inference.tta import VIEWS, check_tta
from ensemble.runs.layout import CHECKPOINTS, FOLD_HISTORIES, weights_name
from ensemble.runs.member import Member
from ensemble.training.determinism import deterministic
from ensemble.training.distributed.launcher import connect_processes
from ensemble.training.member_writer import MemberWriter
from ensemble.training.plan import Plan, plan_member
from ensemble.training.predictions import predict_test, predict_validation

KEEPS = ("last", "best")


def train(
    data: str | Path = "sample",
    *,
    arch: str,
    loss: str,
    arch_options: Mapping[str, Any] | None = None,
    loss_options: Mapping[str, Any] | None = None,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    augment: str = "flips",
    sampler: str = "uniform",
    exclude: str | None = None,
    exclude_from_score: bool = False,
    epochs: int | None = None,
    budget: str | float | None = None,
    batch_size: int = 32,
    lr: float | None = None,
    weight_decay: float | None = None,
    seed: int = 0,
    folds: int | None = None,
    val_fraction: float = 0.2,
    split_seed: int = 0,
    background: str | None = None,
    image_size: str | tuple[int, int] | None = None,
    keep: str = "last",
    tta: str = "none",
    device: str = "auto",
    precision: str = "auto",
    deterministic: bool = False,
    out: str | Path = "runs",
    progress: Progress = no_progress,
    on_plan: Callable[[Plan], None] | None = None,
) -> Member:
    """Train one member, resume it, or open it where it is trained already.

    Args:
        data: an npz file, a folder with ``images/`` and ``masks/``, or ``sample``.
        arch: a registered architecture; see ``ensemble.architectures.ARCHITECTURES``.
        loss: a registered loss or a weighted sum such as ``"0.5*dice + 0.5*weighted-ce"``.
        arch_options: options of the architecture by name.
        loss_options: options of the loss by name.
        encoder: shorthand for the architecture's option ``encoder``.
        encoder_weights: shorthand for its option of that name: ``imagenet``, or a file.
        augment: a sum of augmentations such as ``"geometric + copy-paste(count=4)"``; a TOML file may be one.
        sampler: ``uniform``, or ``rare`` for batches that all hold images of the rarest class.
        exclude: images left out of training: a list written by ``ens data check``, ``"suspects.csv"``, or some of its
            reasons, ``"suspects.csv:repeated-mask,almost-void"``.
        exclude_from_score: leave them out of the score too; such a member cannot be combined with others.
        epochs: passes over the training images; 30 where neither this nor a budget is given.
        budget: seconds, or a text such as ``"5m"``, turned once into a number of epochs.
        batch_size: images per optimiser step, of all processes together.
        lr: largest learning rate.
        weight_decay: of AdamW, on matrices only.
        seed: seed of weights, order and augmentation.
        folds: number of folds; a hold-out where left out.
        val_fraction: share of the images held out where there are no folds.
        split_seed: seed of the split.
        background: what class 0 is: ``void``, ``class`` or ``zero-weight``.
        image_size: size that images are resized to.
        keep: ``last`` or ``best`` epoch.
        tta: test-time augmentation: predict the mean over views of each image, ``flips`` (4) or ``d4`` (8). Where a
            finished member in ``out`` differs in this alone, its weights are taken over and only predictions are made.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        deterministic: use only operations that give the same bits every time; a member of its own, since others may
            give other bits.
        out: folder for runs.
        progress: callback that receives the progress.
        on_plan: called with the resolved plan before training starts.

    Returns:
        The finished member.

    Raises:
        EnsError: any mistake in the arguments or the data, in one sentence; nothing was written then.
    """
    made = _plan(locals())
    if on_plan:
        on_plan(made)
    return train_member(made, progress)


def plan_training(arguments: Mapping[str, Any], *, threads: int | None = None) -> Plan:
    """What ``train(**arguments)`` would train: everything is resolved and checked, nothing is written.

    Args:
        arguments: arguments of :func:`train` by name.
        threads: threads it would have; all that torch takes where None.

    Raises:
        EnsError: as :func:`train`.
    """
    bound = inspect.signature(train).bind(**arguments)
    bound.apply_defaults()
    with torch_threads(threads):
        return _plan(bound.arguments)


def _plan(given: Mapping[str, Any]) -> Plan:
    """The plan of the arguments of ``train``."""
    if given["keep"] not in KEEPS:
        raise UnknownName("epoch to keep", given["keep"], KEEPS)
    check_tta(given["tta"])
    of_data = ("background", "image_size", "val_fraction", "folds", "split_seed")
    settings = data_settings(given["data"], **{name: given[name] for name in of_data})
    budget = given["budget"]
    apart = {"data", "arch", "loss", "budget", "out", "on_plan", *of_data}
    return plan_member(
        settings,
        given["arch"],
        given["loss"],
        **{name: value for name, value in given.items() if name not in apart},
        budget_seconds=parse_duration(budget) if isinstance(budget, str) else budget,
        out=Path(given["out"]),
    )


def train_member(plan: Plan, progress: Progress = no_progress) -> Member:
    """Train, resume or simply open the member of ``plan``.

    Whatever ends the process leaves a directory that the same call resumes, repeating the uninterrupted run.

    Raises:
        EnsError: the loss stops being finite, the disk fills up, files of an earlier run are damaged, another process
            trains this member, or it is not trained by as many processes as it is one of.
    """
    processes = connect_processes(plan.settings)
    plan = replace(plan, processes=processes)
    if not processes.is_main:
        progress = no_progress
    with processes.report_lost_peer():
        names = processes.gather(plan.path.name)
        processes.run_on_main(lambda: _check_same(names))
        if processes.run_on_main(lambda: plan.state) != "complete":
            with ExitStack() as held:
                processes.run_on_main(lambda: held.enter_context(locked(plan.path)))
                _train(plan, progress)
        processes.run_on_main(lambda: _tidy(plan.path))
    return Member.open(plan.path)


def _check_same(names: Sequence[str]) -> None:
    """Refuse processes that do not train the same member, as when their machines have other data."""
    if len(set(names)) > 1:
        raise EnsError(
            f"the processes were given different members ({', '.join(names)}); give all the same data, options, number"
            " of threads and precision"
        )


def _train(plan: Plan, progress: Progress) -> None:
    settings, processes = plan.settings, plan.processes
    if processes.run_on_main(lambda: plan.state) == "complete":  # the process that held the lock before has finished it
        return
    run = MemberWriter(plan)
    with run.record_outcome(), torch_threads(settings.threads), deterministic(settings.deterministic, settings.device):
        epochs = run.start(progress)
        for fold in range(len(plan.split.validation)):
            run.train(fold, epochs, progress)
        processes.run_on_main(lambda: _conclude(run, progress))


def _conclude(run: MemberWriter, progress: Progress) -> None:
    """Predict with the networks of all folds, and write down what came out."""
    plan, settings = run.plan, run.plan.settings
    networks = [
        load_network(settings, plan.facts, plan.path / weights_name(fold), settings.device)
        for fold in range(len(plan.split.validation))
    ]
    tally, latency_ms = predict_validation(plan, networks, progress)
    predict_test(plan, networks, progress)
    image = to_tensor(plan.dataset.images([0]), settings.device)
    operations = sum(gflops(networks[0], view.of(image)) for view in VIEWS[settings.tta])
    run.finish(tally, {"gflops": operations, "latency_ms": latency_ms})


def _tidy(path: Path) -> None:
    """Remove what a finished member needs no more, and what a killed process left; on a read-only disk it stays."""
    with suppress(OSError):
        for pattern in (".*.tmp", FOLD_HISTORIES, CHECKPOINTS, LOCK, OWNER):
            for leftover in path.glob(pattern):
                leftover.unlink(missing_ok=True)
