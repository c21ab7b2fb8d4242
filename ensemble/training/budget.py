"""Step 3 of training, with a time budget: measure a few steps once and turn seconds into a number of epochs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from ensemble.core.progress import Progress, no_progress
from ensemble.inference.hardware import torch_threads
from ensemble.inference.tta import VIEWS
from ensemble.training.batches import epoch_batches, steps_per_epoch
from ensemble.training.plan import Plan
from ensemble.training.trainer import start_training


def epochs_for_budget(plan: Plan, progress: Progress = no_progress) -> int:
    """Return the number of epochs (at least 1) that fit the budget, extrapolated from eight measured steps."""
    settings = plan.settings
    assert settings.budget_seconds is not None
    job, processes = replace(plan.job(0, 1000), checkpoint=Path()), plan.processes
    with torch_threads(settings.threads):
        trainer = start_training(job)
        batches = epoch_batches(
            job.dataset,
            job.training_rows,
            settings.batch_size,
            settings.augmentation,
            settings.seed,
            processes.device(settings.device),
            settings.sampler,
            processes=processes,
        )
        times: list[float] = []
        for step, batch in zip(range(8), batches, strict=False):
            start = time.perf_counter()
            trainer.step(*batch, step)
            times.append(time.perf_counter() - start)
            progress("measuring a step", step + 1, 8)
        batches.close()
    step_seconds = float(np.median(times[2:] or times))
    # Predicting an image takes about a third of the time of training on it. The validation images are predicted about
    # ten times during training; at the end all images are predicted in every view.
    validation, views = len(job.validation_rows), len(VIEWS[settings.tta])
    images = 10 * validation + views * (validation + len(plan.dataset.test_ids))
    predictions = images / settings.batch_size * step_seconds / 3
    per_fold = settings.budget_seconds / len(plan.split.validation) - predictions
    epochs = max(1, int(per_fold / (step_seconds * steps_per_epoch(len(job.training_rows), settings.batch_size))))
    return processes.run_on_main(lambda: epochs)
