"""Before training: rehearse a few steps once, estimate time and memory, and turn a time budget into epochs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ensemble.core.progress import Progress, no_progress
from ensemble.inference.batching import largest_batch
from ensemble.inference.hardware import torch_threads
from ensemble.inference.memory import WEIGHT_BYTES, enough_memory, free_bytes
from ensemble.inference.tta import VIEWS
from ensemble.training.batches import steps_per_epoch
from ensemble.training.length import Length
from ensemble.training.loop import EVALUATIONS
from ensemble.training.plan import Plan
from ensemble.training.rehearsal import Rehearsal, rehearse

SECONDS = 10.0  # most seconds that measuring takes without a budget
CHECK_SECONDS = 2.0  # the same where only the memory is asked for
SHARE_OF_BUDGET = 0.1  # most of a time budget that measuring takes
SURE_BYTES = 100_000  # per pixel of a batch; no network of ours takes half of it, so this much free memory is enough


@dataclass(frozen=True)
class Estimate:
    """What training a member will take on this machine, from measured steps.

    Attributes:
        epochs: the epochs of the settings, or those that fit the time budget.
        epoch_steps: the steps of an epoch, if it ends before it has shown all windows.
        steps: optimiser steps of an epoch (of the smallest fold).
        step_seconds: seconds of a step, with the preparation of its batch.
        seconds: training and predictions of all folds.
        memory: peak bytes, of the process on a CPU, of torch's tensors on a GPU.
    """

    epochs: int
    epoch_steps: int | None
    steps: int
    step_seconds: float
    seconds: float
    memory: int


@enough_memory()
def estimate_training(plan: Plan, progress: Progress = no_progress) -> Estimate:
    """Rehearse steps of the member and estimate what it will take; training starts as if nothing had been measured.

    Raises:
        EnsError: the batch does not fit into the memory; the text names the largest that does.
    """
    budget = plan.settings.budget_seconds
    found = _rehearse(plan, SECONDS if budget is None else SHARE_OF_BUDGET * budget, progress)
    step_seconds = found.training.seconds_of(_batch(plan))
    if plan.settings.epochs is not None:
        length = Length(plan.settings.epochs, plan.settings.epoch_steps)
    else:
        assert budget is not None
        length = _fitting(plan, found, budget - (time.perf_counter() - plan.started))
    seconds, memory = _seconds(plan, found, length), _memory(plan, found, _batch(plan))
    estimate = Estimate(*length, _steps_per_epoch(plan, length.epoch_steps), step_seconds, seconds, memory)
    return plan.processes.run_on_main(lambda: estimate)


def length_for_budget(plan: Plan, progress: Progress = no_progress) -> Length:
    """Return the length that fits the budget, with loading and measuring: an epoch or more, or a step."""
    found = estimate_training(plan, progress)
    return Length(found.epochs, found.epoch_steps)


def _fitting(plan: Plan, found: Rehearsal, left: float) -> Length:
    """Return the length that fits the seconds that are left; an epoch of windows is cut where a whole one does not."""
    step_seconds = len(plan.split.validation) * found.training.seconds_of(_batch(plan))
    whole = _steps_per_epoch(plan)
    epochs = max(1, int(left / (step_seconds * whole)))
    while epochs > 1 and _seconds(plan, found, Length(epochs)) > left:
        epochs -= 1
    if plan.settings.crop is None or _seconds(plan, found, Length(epochs)) <= left:
        return Length(epochs)
    rest = left - _seconds(plan, found, Length(1, 1)) + step_seconds
    return Length(1, min(whole, max(1, int(rest / step_seconds))))


@enough_memory()
def check_batch_fits(plan: Plan, progress: Progress = no_progress) -> None:
    """Rehearse two small batches, unless there is memory for every network, and refuse a batch that does not fit.

    Raises:
        EnsError: it does not fit; the text names the largest that does.
    """
    if _batch(plan) * math.prod(plan.settings.window(plan.facts)) * SURE_BYTES > free_bytes(plan.settings.device):
        _rehearse(plan, CHECK_SECONDS, progress)


def _rehearse(plan: Plan, seconds: float, progress: Progress) -> Rehearsal:
    with torch_threads(plan.settings.threads):
        found = rehearse(replace(plan.job(0, 1000), checkpoint=Path()), seconds, progress)
    found.check(_batch(plan), lambda size: _memory(plan, found, size))
    return found


def _batch(plan: Plan) -> int:
    """Return the number of images of a step."""
    return min(plan.settings.batch_size, len(plan.fewest_shown))


def _memory(plan: Plan, found: Rehearsal, batch_size: int) -> int:
    """Return the peak bytes of the member with this number of images in a step."""
    facts, window = plan.facts, math.prod(plan.settings.window(plan.facts))
    scored = [[plan.dataset.sizes[row] for row in rows] for rows in plan.split.validation]
    tested = largest_batch(plan.dataset.test_sizes) if plan.dataset.test_sizes else 0
    validated = max(largest_batch(sizes, batch_size) for sizes in scored)
    predicted = max(tested, *map(largest_batch, scored))
    # The networks of all folds; the probabilities that each gives of a batch of test images, and the same in one piece.
    folds, probs = len(scored), tested * facts.outputs * WEIGHT_BYTES
    held = folds * WEIGHT_BYTES * found.weights + 2 * (folds - 1) * probs
    return found.memory(batch_size, math.ceil(validated / window), math.ceil(predicted / window), held)


def _steps_per_epoch(plan: Plan, most: int | None = None) -> int:
    return steps_per_epoch(len(plan.fewest_shown), plan.settings.batch_size, most)


def _seconds(plan: Plan, found: Rehearsal, length: Length) -> float:
    """Return the seconds of all folds: steps, and predictions.

    The validation images are predicted about ten times during training, or after every epoch if the best is kept; at
    the end they and the test images are predicted in every view, the test images by the networks of all folds, and
    all are scored and stored. The memory that steps keep is given back before the validation images are predicted, so
    that the next step is as slow as the first.
    """
    settings, dataset, folds = plan.settings, plan.dataset, len(plan.split.validation)
    scored = [dataset.sizes[row] for row in plan.split.scored]
    seen, tests = (sum(found.seen[size] for size in sizes) for sizes in (scored, dataset.test_sizes))
    validated, tested = (sum(map(math.prod, sizes)) for sizes in (scored, dataset.test_sizes))
    epochs, window = length.epochs, math.prod(settings.window(plan.facts))
    evaluations = epochs if settings.keep == "best" else min(EVALUATIONS, epochs)
    pixels = evaluations * seen + len(VIEWS[settings.tta]) * (seen + folds * tests)
    steps = epochs * _steps_per_epoch(plan, length.epoch_steps) * found.training.seconds_of(_batch(plan))
    judging = found.scoring * evaluations * validated + found.keeping * (validated + tested)
    predictions = found.predicting.seconds_of(pixels / window) + judging / window
    given_back = evaluations * (found.releasing + found.training.points[-1].first_extra)
    return folds * (steps + given_back) + predictions
