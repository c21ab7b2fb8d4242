"""Step 4 of training, the loop: train one fold from random weights, or from a checkpoint, to its EMA weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress
from ensemble.evaluation.confusion import confusion_per_image, mean_iou
from ensemble.evaluation.image import highest
from ensemble.inference.allocator import memory_anew, memory_kept
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.memory import enough_memory
from ensemble.inference.network import Network, scored
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.training.batches import derive_seed, epoch_batches
from ensemble.training.checkpoint import load_checkpoint
from ensemble.training.determinism import seed_everything
from ensemble.training.progress_state import Checkpoints, FoldState, Row, restore_fold_state
from ensemble.training.schedule import cosine_with_warmup
from ensemble.training.trainer import FoldJob, Trainer, start_training

EVALUATIONS = 10  # predictions of the validation images during training; more would slow it down
OnEpoch = Callable[[list[Row]], None]


@enough_memory()
def train_fold(job: FoldJob, progress: Progress, on_epoch: OnEpoch) -> dict[str, Tensor]:
    """Train one fold and return the weights to keep.

    If ``job.checkpoint`` exists, training continues from it, also in the middle of an epoch. The next images and their
    augmentation are functions of (seed, fold, epoch, step), and the checkpoint holds the random states that networks
    draw from, so a resumed run repeats the uninterrupted one. With several processes, the main one reads and writes
    the checkpoint.

    Args:
        job: the fold and its settings.
        progress: callback that receives the progress.
        on_epoch: callback that receives the history, one row per finished epoch, after each new row, and after the
            rows of a checkpoint are read; it is called in the main process only.

    Returns:
        State dict of the EMA weights: those of the last epoch, or of the best one with ``keep="best"``.

    Raises:
        EnsError: the loss stops being finite, the checkpoint is damaged, or the disk or the memory is full.
    """
    trainer, processes = start_training(job), job.processes
    fold_state = restore_fold_state(trainer, processes.run_on_main(lambda: load_checkpoint(job.checkpoint, "cpu")))
    if fold_state.history:
        processes.run_on_main(partial(on_epoch, fold_state.history))
    fold_state = _train_epochs(trainer, fold_state, progress, on_epoch)
    return trainer.average.state_dict() if fold_state.best is None else fold_state.best["weights"]


def _train_epochs(trainer: Trainer, fold_state: FoldState, progress: Progress, on_epoch: OnEpoch) -> FoldState:
    """Train the rest of all epochs and return the state after the last one."""
    job, processes, checkpoints = trainer.job, trainer.job.processes, Checkpoints(trainer)
    with memory_kept(job.settings.device):
        while (epoch := fold_state.epoch) < job.epochs:
            row, best = _train_epoch(trainer, fold_state, checkpoints, progress), fold_state.best
            if _is_evaluated(job, epoch):
                with memory_anew(job.settings.device):
                    row["val_miou"] = processes.run_on_main(lambda: validation_miou(trainer.average, job))
                if job.settings.keep == "best" and (best is None or row["val_miou"] > best["val_miou"]):
                    weights = deepcopy(trainer.average.state_dict())
                    best = {"val_miou": row["val_miou"], "epoch": epoch, "weights": weights}
            fold_state = FoldState(epoch + 1, best=best, history=[*fold_state.history, row])
            if processes.run_on_main(lambda: checkpoints.cheap or checkpoints.late):
                checkpoints.save(fold_state)
            processes.run_on_main(partial(on_epoch, fold_state.history))
    return fold_state


def _train_epoch(trainer: Trainer, fold_state: FoldState, checkpoints: Checkpoints, progress: Progress) -> Row:
    """Train the rest of an epoch and return its row of the history."""
    job, settings, epoch = trainer.job, trainer.job.settings, fold_state.epoch
    seed, processes = derive_seed(settings.seed, job.fold, epoch), job.processes
    if not fold_state.step:
        seed_everything(seed if processes.is_main else derive_seed(seed, processes.rank))
    trainer.prepare()
    batches = epoch_batches(
        job.training,
        settings.batch_size,
        settings.augmentation,
        seed,
        processes.device(settings.device),
        settings.sampler,
        fold_state.step,
        processes,
        settings.epoch_steps,
    )
    name = f"training fold {job.fold + 1} of {settings.data.folds}" if settings.data.folds else "training"
    start = time.perf_counter() - fold_state.seconds  # as if the epoch had never been interrupted
    for images_nchw, labels_nhw in batches:
        step = epoch * job.steps + fold_state.step
        loss = trainer.step(images_nchw, labels_nhw, step)
        loss, late = processes.mean_loss(loss, checkpoints.late)
        fold_state.loss_sum = fold_state.loss_sum + loss.cpu()
        fold_state.step += 1
        fold_state.seconds = time.perf_counter() - start
        progress(name, step + 1, job.steps * job.epochs, f"epoch {epoch + 1}/{job.epochs} loss {float(loss):.3f}")
        if late and fold_state.step < job.steps:
            checkpoints.save(fold_state)
    return processes.run_on_main(lambda: _history_row(job, fold_state))


def _history_row(job: FoldJob, fold_state: FoldState) -> Row:
    """Return the row of a finished epoch: mean loss, learning rate of the first step, seconds."""
    tuning, epoch = job.settings.optimiser, fold_state.epoch
    mean = float(fold_state.loss_sum) / job.steps
    if not np.isfinite(mean):
        raise EnsError(
            f"the loss is no longer finite in epoch {epoch + 1}; lower lr (now {tuning.lr:g}) or use precision fp32"
        )
    images = job.steps * min(job.settings.batch_size, len(job.training.shown))
    return {
        "fold": job.fold,
        "epoch": epoch + 1,
        "lr": tuning.lr * cosine_with_warmup(epoch * job.steps, job.all_steps, tuning.warmup),
        "train_loss": mean,
        "val_miou": None,
        "seconds": fold_state.seconds,
        "images_per_second": images / fold_state.seconds,
    }


def _is_evaluated(job: FoldJob, epoch: int) -> bool:
    """Return whether the validation images are predicted after this epoch; a refit has none."""
    if not len(job.validation_rows):
        return False
    every = 1 if job.settings.keep == "best" else -(-job.epochs // EVALUATIONS)
    return epoch + 1 == job.epochs or (epoch + 1) % every == 0


def validation_miou(network: Network, job: FoldJob) -> float:
    """Return the mean IoU of a network on the fold's validation rows."""
    classes, dataset, rows = len(job.facts.classes), job.dataset, job.validation_rows.tolist()
    predict = PooledNetworks.of_one(MemberNetwork.of_fold(network, job.settings, job.facts, job.fold))
    sizes = [dataset.sizes[row] for row in rows]
    total = np.zeros((classes, classes), np.int64)
    for piece in predict.pieces(
        sizes,
        lambda numbers: dataset.images(rows[numbers.start : numbers.stop]),
        batch=job.settings.batch_size,
    ):
        labels_nhw = piece.cut(dataset.labels(rows[piece.numbers.start : piece.numbers.stop]))
        total += confusions_of(torch.from_numpy(piece.probs_nkhw), labels_nhw, classes).sum(0)
    return float(mean_iou(total))


def confusions_of(outputs_nkhw: Tensor, labels_nhw: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Return the confusion matrix of each image (n, classes, classes) from the probabilities of all outputs."""
    probs_nkhw = scored(outputs_nkhw, classes).numpy()
    predictions_nhw = highest(probs_nkhw.swapaxes(0, 1))[1]  # torch's argmax over classes takes ten times as long
    return confusion_per_image(labels_nhw, predictions_nhw, classes)
