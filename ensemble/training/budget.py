"""Before training: measure a few steps once, estimate time and memory, and turn a time budget into epochs."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ensemble.core.progress import Progress, no_progress
from ensemble.inference.hardware import torch_threads
from ensemble.inference.memory import enough_memory
from ensemble.inference.tta import VIEWS
from ensemble.training.batches import epoch_batches, steps_per_epoch
from ensemble.training.cost import peak_bytes
from ensemble.training.loop import EVALUATIONS
from ensemble.training.plan import Plan
from ensemble.training.trainer import start_training

STEPS, SECONDS = 8, 10.0  # most steps that are measured, and most seconds that this takes without a budget
SHARE_OF_BUDGET = 0.1  # most of a time budget that measuring takes


@dataclass(frozen=True)
class Estimate:
    """What training a member will take on this machine, from measured steps.

    Attributes:
        epochs: the epochs of the settings, or those that fit the time budget.
        steps: optimiser steps of an epoch (of the smallest fold).
        step_seconds: seconds of a step, with the preparation of its batch.
        seconds: training and predictions of all folds.
        memory: peak bytes so far, of the process on a CPU, of its tensors on a GPU.
    """

    epochs: int
    steps: int
    step_seconds: float
    seconds: float
    memory: int


@enough_memory()
def estimate_training(plan: Plan, progress: Progress = no_progress) -> Estimate:
    """Measure steps of the member and estimate what it will take; training starts as if nothing had been measured.

    Raises:
        EnsError: the memory is full.
    """
    budget = plan.settings.budget_seconds
    step_seconds = _measure_step(plan, SECONDS if budget is None else SHARE_OF_BUDGET * budget, progress)
    epochs = plan.settings.epochs
    if epochs is None:
        assert budget is not None
        left = budget - (time.perf_counter() - plan.started)
        epochs = max(1, int(left / (len(plan.split.validation) * step_seconds * _steps_per_epoch(plan))))
        while epochs > 1 and _seconds(plan, step_seconds, epochs) > left:
            epochs -= 1
    memory = torch.cuda.max_memory_allocated() if plan.settings.device == "cuda" else peak_bytes()
    seconds = _seconds(plan, step_seconds, epochs)
    found = Estimate(epochs, _steps_per_epoch(plan), step_seconds, seconds, memory)
    return plan.processes.run_on_main(lambda: found)


def _steps_per_epoch(plan: Plan) -> int:
    return steps_per_epoch(len(plan.fewest_shown), plan.settings.batch_size)


def _seconds(plan: Plan, step_seconds: float, epochs: int) -> float:
    """Return the seconds of all folds: steps, and predictions, which take about a third of a step for as many images.

    The validation images are predicted about ten times during training, or after every epoch if the best is kept; at
    the end they and the test images are predicted in every view.
    """
    settings, folds = plan.settings, len(plan.split.validation)
    scored, tests = len(plan.split.scored) / folds, len(plan.dataset.test_ids)
    evaluations = epochs if settings.keep == "best" else min(EVALUATIONS, epochs)
    images = evaluations * scored + len(VIEWS[settings.tta]) * (scored + tests)
    return folds * step_seconds * (epochs * _steps_per_epoch(plan) + images / settings.batch_size / 3)


def epochs_for_budget(plan: Plan, progress: Progress = no_progress) -> int:
    """Return the number of epochs (at least 1) that fit the budget, loading and measuring included."""
    return estimate_training(plan, progress).epochs


def _measure_step(plan: Plan, limit: float, progress: Progress) -> float:
    """Return the seconds of a step; measuring ends before ``limit`` seconds if a first step fits in."""
    start = time.perf_counter()
    times: list[float] = []
    with torch_threads(plan.settings.threads), closing(_steps(plan)) as steps:
        for seconds in steps:
            times.append(seconds)
            progress("measuring a step", len(times), STEPS)
            late = time.perf_counter() - start + seconds > limit
            if len(times) == STEPS or plan.processes.run_on_main(lambda late=late: late):
                break
    return float(np.median(times[2:] or times[-1:]))  # the first steps are slower


def _steps(plan: Plan) -> Generator[float]:
    """Train for an epoch and yield the seconds of every step, with the wait for its batch."""
    settings, processes = plan.settings, plan.processes
    job = replace(plan.job(0, 1000), checkpoint=Path())
    trainer = start_training(job)
    trainer.network.train()
    batches = epoch_batches(
        job.training,
        settings.batch_size,
        settings.augmentation,
        settings.seed,
        processes.device(settings.device),
        settings.sampler,
        processes=processes,
    )
    start = time.perf_counter()
    try:
        for step, batch in enumerate(batches):
            float(trainer.step(*batch, step))  # waits for a GPU
            yield time.perf_counter() - start
            start = time.perf_counter()
    finally:
        batches.close()
