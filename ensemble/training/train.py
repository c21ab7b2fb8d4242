"""Train one member: every fold, then its probabilities and scores, in a directory that can be resumed at any time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from ensemble.config import TrainSettings
from ensemble.core.errors import EnsError
from ensemble.core.locks import LOCK, OWNER, locked
from ensemble.core.progress import Progress, no_progress
from ensemble.inference.allocator import release_memory
from ensemble.inference.batching import is_tiled
from ensemble.inference.hardware import torch_threads
from ensemble.inference.network import Network, load_network
from ensemble.inference.operations import gflops
from ensemble.inference.tta import VIEWS
from ensemble.runs.layout import CHECKPOINTS, FOLD_HISTORIES, weights_name
from ensemble.runs.member import Member
from ensemble.training.budget import check_batch_fits
from ensemble.training.determinism import deterministic
from ensemble.training.distributed.launcher import connect_processes
from ensemble.training.member_writer import MemberWriter
from ensemble.training.plan import Plan, plan_member
from ensemble.training.predictions import predict_test, predict_validation
from ensemble.training.reuse import find_same_weights

PART = 1 << 10  # pixels of a side of an image that operations are counted for


def train(
    data: str | Path = "sample",
    *,
    out: str | Path = "runs",
    progress: Progress = no_progress,
    on_plan: Callable[[Plan], None] | None = None,
    **settings: Any,
) -> Member:
    """Train one member, resume it, or open it if it is already trained.

    Example: ``train("mars.npz", arch="unet(filters=24)", loss="focal(gamma=1.5)", budget="5m")``.

    Args:
        data: an npz file, a folder with ``images/`` and ``masks/``, or ``sample``.
        out: folder for runs.
        progress: callback that receives the progress.
        on_plan: called with the resolved plan before training starts.
        **settings: the fields of `ensemble.config.TrainSettings`; all have a default:

            {settings}

    Returns:
        The finished member.

    Raises:
        EnsError: any mistake in the arguments or the data, as one sentence; nothing has been written then.
    """
    plan = plan_member(TrainSettings(data=str(data), **settings), Path(out), progress)
    if on_plan:
        on_plan(plan)
    return train_member(plan, progress)


def plan_training(arguments: Mapping[str, Any], *, threads: int | None = None, known: Plan | None = None) -> Plan:
    """Return the plan that ``train(**arguments)`` would follow; everything is checked, nothing is written.

    Args:
        arguments: arguments of :func:`train` by name.
        threads: number of threads it would have; None for all that torch takes.
        known: see `plan_member`.

    Raises:
        EnsError: as :func:`train`.
    """
    ours = {name: value for name, value in arguments.items() if name in _OURS}
    settings = {name: value for name, value in arguments.items() if name not in _OURS}
    settings["data"] = str(settings.get("data", "sample"))
    asked, out = TrainSettings(**settings), Path(ours.get("out", "runs"))
    with torch_threads(threads):
        return plan_member(asked, out, ours.get("progress", no_progress), known)


_OURS = ("out", "progress", "on_plan")


def _describe_settings() -> tuple[inspect.Signature, str]:
    """Return the signature of :func:`train` with every setting, and a line of documentation for each of them."""
    own = inspect.signature(train).parameters
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    fields = {name: field for name, field in TrainSettings.model_fields.items() if name != "data"}
    parameters = [
        inspect.Parameter(
            name,
            keyword_only,
            default=inspect.Parameter.empty if field.is_required() else field.default,
            annotation=_accepted(field),
        )
        for name, field in sorted(fields.items(), key=lambda item: not item[1].is_required())
    ]
    signature = inspect.Signature([own["data"], *parameters, *(own[name] for name in _OURS)])
    lines = [f"{name}: {field.description}." for name, field in fields.items()]
    return signature, "\n            ".join(lines)


def _accepted(field: FieldInfo) -> Any:
    """Return the types that a user may pass: text, too, if the setting converts it, as in ``budget="5m"``."""
    converts = any(isinstance(mark, BeforeValidator) for mark in field.metadata)
    return str | field.annotation if converts and field.annotation else field.annotation


_signature, _settings_text = _describe_settings()
train.__signature__ = _signature  # pyright: ignore[reportFunctionMemberAccess]
train.__doc__ = (train.__doc__ or "").replace("{settings}", _settings_text)


def train_member(plan: Plan, progress: Progress = no_progress) -> Member:
    """Train, resume or simply open the member of ``plan``.

    However the process ends, the same call resumes the directory and repeats the uninterrupted run.

    Raises:
        EnsError: the batch does not fit into the memory, the loss stops being finite, the disk fills up, files of an
            earlier run are damaged, another process trains this member, or the number of processes is not the planned
            one.
    """
    processes = connect_processes(plan.settings)
    plan = replace(plan, processes=processes)
    if not processes.is_main:
        progress = no_progress
    with processes.report_lost_peer():
        names = processes.gather(plan.path.name)
        processes.run_on_main(lambda: _check_same(names))
        _train_missing(plan, progress)
    return Member.open(plan.path)


def _check_same(names: Sequence[str]) -> None:
    """Refuse processes that train different members, for example because their machines have different data."""
    if len(set(names)) > 1:
        raise EnsError(
            f"the processes were given different members ({', '.join(names)}); give all the same data, options, number"
            " of threads and precision"
        )


def _train_missing(plan: Plan, progress: Progress) -> None:
    """Train or resume one member, unless it is complete."""
    processes = plan.processes
    if processes.run_on_main(lambda: plan.state) != "complete":
        if plan.state == "new" and not plan.measured and processes.count == 1 and not find_same_weights(plan):
            check_batch_fits(plan, progress)
        with ExitStack() as held:
            processes.run_on_main(lambda: held.enter_context(locked(plan.path)))
            _train(plan, progress)
    processes.run_on_main(lambda: tidy(plan.path))


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
    """Predict with the networks of all folds, and write predictions and scores."""
    plan, settings = run.plan, run.plan.settings
    networks = [
        load_network(settings, plan.facts, plan.path / weights_name(fold), settings.device)
        for fold in range(len(plan.split.validation))
    ]
    release_memory(settings.device)
    tally, latency_ms = predict_validation(plan, networks, progress)
    predict_test(plan, networks, progress)
    operations = operations_of(networks[0], plan.dataset.sizes[0], plan)
    run.finish(tally, {"gflops": operations, "latency_ms": latency_ms})


def operations_of(network: Network, size: tuple[int, int], plan: Plan) -> float:
    """Return the billions of operations for an image of a size, in all views; those of a large image from a part."""
    part = size
    if is_tiled(size):
        part = network.resizing.fitted(size) if plan.settings.input_size else (min(size[0], PART), min(size[1], PART))
    image = torch.zeros(1, plan.facts.bands, *part, device=plan.settings.device)
    found = sum(gflops(network, view.of(image)) for view in VIEWS[plan.settings.tta])
    return found if plan.settings.input_size else found * (size[0] * size[1] / (part[0] * part[1]))


def tidy(path: Path) -> None:
    """Remove files that a finished member does not need, and leftovers of killed processes, if the disk allows it."""
    with suppress(OSError):
        for pattern in (".*.tmp", FOLD_HISTORIES, CHECKPOINTS, LOCK, OWNER):
            for leftover in path.glob(pattern):
                leftover.unlink(missing_ok=True)
