"""Run one trial: a short training on one part of the training images, judged on the rest of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress
from ensemble.data.split import check_classes, split_data
from ensemble.inference.hardware import torch_threads
from ensemble.training.determinism import deterministic
from ensemble.training.loop import train_fold
from ensemble.training.plan import Plan

Rows = NDArray[np.int64]
History = list[dict[str, Any]]


def inner_split(plan: Plan) -> tuple[Rows, Rows]:
    """Split the member's *training* rows into rows that trials learn from and rows on which they are judged.

    The member's validation images are in neither part, so its score chooses nothing. Groups stay whole, the
    held-out share is that of the member, and excluded or unlabelled images are left out.

    Raises:
        EnsError: there are too few groups, or the rows to learn from would lack a class.
    """
    dataset, rows = plan.dataset, plan.training_rows(0)
    ids, groups = ([names[row] for row in rows] for names in (dataset.ids, plan.groups))
    try:
        split = split_data(ids, groups, dataset.foreground_nk[rows], plan.settings.data)
        check_classes(split, dataset.counts_nk[rows], dataset.classes)
    except EnsError as error:
        raise EnsError(f"the {len(rows)} training images cannot be split again for trials: {error}") from None
    return rows[split.training(0)], rows[split.validation[0]]


def train_trial(
    plan: Plan, epochs: int, checkpoint: Path, on_epoch: Callable[[History], None], progress: Progress
) -> None:
    """Train for some epochs, continuing from ``checkpoint`` if it exists.

    Args:
        plan: plan of the member that these settings would give.
        epochs: passes over the inner training rows.
        checkpoint: path of the checkpoint.
        on_epoch: called with the history after every epoch: one row per epoch, with ``val_miou`` on the inner hold-out
            if the epoch was judged. An exception that it raises ends the trial.
        progress: callback that receives the progress.

    Raises:
        EnsError: the loss stops being finite, or the disk is full.
    """
    training, held = inner_split(plan)
    images = replace(plan.training(0), rows=training)
    job = replace(plan.job(0, epochs), training=images, validation_rows=held, checkpoint=checkpoint)
    settings = plan.settings
    with torch_threads(settings.threads), deterministic(settings.deterministic, settings.device):
        train_fold(job, progress, on_epoch)
