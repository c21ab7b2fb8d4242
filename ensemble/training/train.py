"""Train one member: every fold, then its probabilities and scores, in a directory that can be resumed at any time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.locks import LOCK, OWNER, locked
from ensemble.core.progress import Tick, silent
from ensemble.inference.network import gflops, load_network, to_tensor
from ensemble.inference.tta import VIEWS
from ensemble.runs.member import Member
from ensemble.training.determinism import deterministic
from ensemble.training.distributed.launcher import join
from ensemble.training.hardware import torch_threads
from ensemble.training.member_writer import Run
from ensemble.training.plan import Plan
from ensemble.training.predictions import predict_test, predict_validation


def train_member(plan: Plan, tick: Tick = silent) -> Member:
    """Train, resume or simply open the member of ``plan``.

    Whatever ends the process leaves a directory that the same call resumes, repeating the uninterrupted run.

    Raises:
        EnsError: the loss stops being finite, the disk fills up, files of an earlier run are damaged, another process
            trains this member, or it is not trained by as many processes as it is one of.
    """
    processes = join(plan.settings)
    plan = replace(plan, processes=processes)
    if not processes.is_main:
        tick = silent
    with processes.contact():
        names = processes.gather(plan.path.name)
        processes.on_main(lambda: _check_same(names))
        if processes.on_main(lambda: plan.state) != "complete":
            with ExitStack() as held:
                processes.on_main(lambda: held.enter_context(locked(plan.path)))
                _train(plan, tick)
        processes.on_main(lambda: _tidy(plan.path))
    return Member.open(plan.path)


def _check_same(names: Sequence[str]) -> None:
    """Refuse processes that do not train the same member, as when their machines have other data."""
    if len(set(names)) > 1:
        raise EnsError(
            f"the processes were given different members ({', '.join(names)}); give all the same data, options, number"
            " of threads and precision"
        )


def _train(plan: Plan, tick: Tick) -> None:
    settings, processes = plan.settings, plan.processes
    if processes.on_main(lambda: plan.state) == "complete":  # the process that held the lock before has finished it
        return
    run = Run(plan)
    with run.state_kept(), torch_threads(settings.threads), deterministic(settings.deterministic, settings.device):
        epochs = run.start(tick)
        for fold in range(len(plan.split.validation)):
            run.train(fold, epochs, tick)
        processes.on_main(lambda: _conclude(run, tick))


def _conclude(run: Run, tick: Tick) -> None:
    """Predict with the networks of all folds, and write down what came out."""
    plan, settings = run.plan, run.plan.settings
    networks = [
        load_network(settings, plan.facts, plan.path / f"weights-f{fold}.safetensors", settings.device)
        for fold in range(len(plan.split.validation))
    ]
    tally, latency_ms = predict_validation(plan, networks, tick)
    predict_test(plan, networks, tick)
    image = to_tensor(plan.dataset.images([0]), settings.device)
    operations = sum(gflops(networks[0], view.of(image)) for view in VIEWS[settings.tta])
    run.finish(tally, {"gflops": operations, "latency_ms": latency_ms})


def _tidy(path: Path) -> None:
    """Remove what a finished member needs no more, and what a killed process left; on a read-only disk it stays."""
    with suppress(OSError):
        for pattern in (".*.tmp", "history-f*.json", "checkpoint-f*.pt", LOCK, OWNER):
            for leftover in path.glob(pattern):
                leftover.unlink(missing_ok=True)
