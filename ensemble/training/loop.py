"""The training loop: one fold of one member, from random weights (or a checkpoint) to EMA weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ensemble.config import DataFacts, MemberSettings
from ensemble.data import Dataset
from ensemble.errors import EnsError
from ensemble.evaluation.confusion import confusion_per_image, mean_iou
from ensemble.losses import build_loss
from ensemble.networks import Network, build_network, infer, scored
from ensemble.progress import Tick
from ensemble.training.batches import derive_seed, epoch_batches, pixel_statistics, steps_per_epoch
from ensemble.training.checkpoint import load_checkpoint, save_checkpoint
from ensemble.training.exact import random_states, restore_random_states, seed_everything
from ensemble.training.hardware import autocast
from ensemble.training.processes import ALONE, Processes
from ensemble.training.schedule import cosine_with_warmup, ema_decay

State = dict[str, Any]

CHECKPOINT_SECONDS = 120.0  # a checkpoint follows every epoch, and in long epochs so many seconds
SHARED = ("network", "average", "optimiser")  # parts of a Trainer that a checkpoint holds, the same in all processes
EVALUATIONS = 10  # times the validation images are predicted on the way; more would slow training down


@dataclass(frozen=True)
class FoldJob:
    """Everything one fold needs; ``epochs`` is known by now."""

    settings: MemberSettings
    facts: DataFacts
    dataset: Dataset
    training_rows: NDArray[np.int64]
    validation_rows: NDArray[np.int64]
    fold: int
    epochs: int
    checkpoint: Path
    processes: Processes = ALONE

    @property
    def steps(self) -> int:
        """Optimiser steps of one epoch."""
        return steps_per_epoch(len(self.training_rows), self.settings.batch_size)


@dataclass
class Trainer:
    """What changes while a fold trains."""

    network: Network
    average: Network
    loss: nn.Module
    optimiser: torch.optim.AdamW
    job: FoldJob
    supervise: Callable[[Tensor], Sequence[Tensor]]  # ``network.supervised``, data-parallel where there are processes

    def step(self, images_nchw: Tensor, labels_nhw: Tensor, step: int) -> Tensor:
        """One optimiser step and one update of the EMA; returns the loss (of several processes: of this one)."""
        settings, total = self.job.settings, self.job.steps * self.job.epochs
        tuning = settings.optimiser
        for group in self.optimiser.param_groups:
            group["lr"] = tuning.lr * cosine_with_warmup(step, total, tuning.warmup)
        with autocast(settings.device, settings.precision):
            outputs = self.supervise(images_nchw)
        loss = supervised_loss(self.loss, outputs, labels_nhw)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), tuning.clip)
        self.optimiser.step()
        update_average(self.average, self.network, ema_decay(step, total, tuning.ema_span))
        return loss.detach()


class _Supervised(nn.Module):
    """``supervised`` of a network as the forward pass, which is what data-parallel training wraps."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_nchw: Tensor) -> list[Tensor]:
        return self.network.supervised(images_nchw)


def supervised_loss(loss: nn.Module, outputs: Sequence[Tensor], labels_nhw: Tensor) -> Tensor:
    """Mean of the losses of all supervised logits with weights 1, 1/2, 1/4 ..., the final ones first.

    Reference:
        Lee et al., Deeply-supervised nets, 2015; the weights are those of nnU-Net (Isensee et al., 2021).
    """
    weights = [0.5**level for level in range(len(outputs))]
    losses = [w * loss(logits.float(), labels_nhw) for w, logits in zip(weights, outputs, strict=True)]
    return torch.stack(losses).sum() / sum(weights) if len(losses) > 1 else losses[0]


def start_training(job: FoldJob) -> Trainer:
    """Fresh random weights from (seed, fold), the loss with the class counts of the training fold, the optimiser."""
    settings, device = job.settings, job.processes.device(job.settings.device)
    seed_everything(derive_seed(settings.seed, job.fold, "weights"))
    network = build_network(settings, job.facts, pretrained=not job.checkpoint.is_file())
    mean_c, std_c = pixel_statistics(job.dataset, job.training_rows)
    network.mean_c.copy_(mean_c.reshape(1, -1, 1, 1))
    network.std_c.copy_(std_c.reshape(1, -1, 1, 1))
    network = network.to(device).to(memory_format=torch.channels_last)
    counts_c = np.zeros(job.facts.outputs, np.int64)
    counts_c[: len(job.facts.classes)] = job.dataset.counts_nk[job.training_rows].sum(0)
    loss = build_loss(settings.loss.name, torch.from_numpy(counts_c), settings.loss.options).to(device)
    # Norms and biases are not decayed: shrinking them only rescales what the next layer undoes.
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.optimiser.weight_decay},
        {"params": vectors, "weight_decay": 0},
    ]
    fused = settings.optimiser.kind == "adamw-fused"
    optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.optimiser.lr, fused=fused)
    average = deepcopy(network).eval().requires_grad_(False)
    alone = job.processes.count == 1
    supervise = network.supervised if alone else job.processes.parallel(_Supervised(network))
    return Trainer(network, average, loss, optimiser, job, supervise)


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the EMA towards the network: floating weights and BatchNorm statistics by ``1 - decay``, counters copied."""
    with torch.no_grad():
        kept, new = average.state_dict(), network.state_dict()
        floating = [name for name, tensor in kept.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([kept[name] for name in floating], [new[name] for name in floating], 1 - decay)  # pyright: ignore[reportPrivateUsage]
        for name in kept.keys() - set(floating):
            kept[name].copy_(new[name])


@dataclass
class Position:
    """How far a fold is: what a checkpoint holds beside weights, EMA, optimiser and random states."""

    epoch: int = 0  # finished ones
    step: int = 0  # finished ones of the epoch that follows, and the sum of their losses and their seconds
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    seconds: float = 0.0
    best: State | None = None
    history: list[State] = field(default_factory=list[State])


def train_fold(job: FoldJob, tick: Tick, on_epoch: Callable[[list[State]], None]) -> dict[str, Tensor]:
    """Train one fold to its last epoch and return the weights to keep.

    Goes on from ``job.checkpoint`` where there is one, in the middle of an epoch too. Which images come next and how
    they are augmented is a function of (seed, fold, epoch, step) and what networks draw is in the checkpoint, so a
    resumed run repeats the uninterrupted one. Of several processes the main one reads and writes the checkpoint.

    Args:
        job: the fold.
        tick: told the progress.
        on_epoch: given the history, a row per finished epoch, whenever a row is new and in the checkpoint; called in
            the main process alone.

    Raises:
        EnsError: the loss stops being finite, the checkpoint is damaged, or the disk is full.
    """
    trainer, processes = start_training(job), job.processes
    position = _restore(trainer, processes.on_main(lambda: load_checkpoint(job.checkpoint, "cpu")))
    if position.history:
        processes.on_main(partial(on_epoch, position.history))
    while (epoch := position.epoch) < job.epochs:
        row, best = _train_epoch(trainer, position, tick), position.best
        if _evaluated(job, epoch):
            row["val_miou"] = processes.on_main(lambda: validation_miou(trainer.average, job))
            if job.settings.keep == "best" and (best is None or row["val_miou"] > best["val_miou"]):
                best = State(val_miou=row["val_miou"], epoch=epoch, weights=deepcopy(trainer.average.state_dict()))
        position = Position(epoch + 1, best=best, history=[*position.history, row])
        _save(trainer, position)
        processes.on_main(partial(on_epoch, position.history))
    return trainer.average.state_dict() if position.best is None else position.best["weights"]


def _train_epoch(trainer: Trainer, position: Position, tick: Tick) -> State:
    """Train what is left of an epoch, and return its row of the history."""
    job, settings, epoch = trainer.job, trainer.job.settings, position.epoch
    seed, processes = derive_seed(settings.seed, job.fold, epoch), job.processes
    if not position.step:
        seed_everything(seed if processes.is_main else derive_seed(seed, processes.rank))
    trainer.network.train()
    batches = epoch_batches(
        job.dataset,
        job.training_rows,
        settings.batch_size,
        settings.augmentation,
        seed,
        processes.device(settings.device),
        settings.sampler,
        position.step,
        processes,
    )
    name = f"training fold {job.fold + 1}" if settings.data.folds else "training"
    saved = time.perf_counter()
    start = saved - position.seconds
    for images_nchw, labels_nhw in batches:
        step = epoch * job.steps + position.step
        loss = trainer.step(images_nchw, labels_nhw, step)
        loss, late = processes.mean(loss, time.perf_counter() - saved > CHECKPOINT_SECONDS)
        position.loss_sum = position.loss_sum + loss.cpu()
        position.step += 1
        position.seconds = time.perf_counter() - start
        tick(name, step + 1, job.steps * job.epochs, f"epoch {epoch + 1}/{job.epochs} loss {float(loss):.3f}")
        if late and position.step < job.steps:
            _save(trainer, position)
            saved = time.perf_counter()
    return processes.on_main(lambda: _history_row(job, position))


def _history_row(job: FoldJob, position: Position) -> State:
    """Row of a finished epoch: its mean loss, the learning rate of its first step, its time."""
    tuning, epoch = job.settings.optimiser, position.epoch
    mean = float(position.loss_sum) / job.steps
    if not np.isfinite(mean):
        raise EnsError(
            f"the loss is no longer finite in epoch {epoch + 1}; lower --lr (now {tuning.lr:g}) or use --precision fp32"
        )
    images = job.steps * min(job.settings.batch_size, len(job.training_rows))
    return {
        "fold": job.fold,
        "epoch": epoch + 1,
        "lr": tuning.lr * cosine_with_warmup(epoch * job.steps, job.steps * job.epochs, tuning.warmup),
        "train_loss": mean,
        "val_miou": None,
        "seconds": position.seconds,
        "images_per_second": images / position.seconds,
    }


def _evaluated(job: FoldJob, epoch: int) -> bool:
    every = 1 if job.settings.keep == "best" else -(-job.epochs // EVALUATIONS)
    return epoch == job.epochs - 1 or (epoch + 1) % every == 0


def validation_miou(network: nn.Module, job: FoldJob) -> float:
    """Mean IoU of the EMA weights on the fold's validation rows."""
    classes = len(job.facts.classes)
    total = np.zeros((classes, classes), np.int64)
    for start in range(0, len(job.validation_rows), job.settings.batch_size):
        rows = job.validation_rows[start : start + job.settings.batch_size].tolist()
        probs = scored(infer(network, job.dataset.images(rows), job.settings, job.settings.device), classes)
        predictions = probs.argmax(1).numpy()
        total += confusion_per_image(job.dataset.labels(rows), predictions, classes).sum(0)
    return float(mean_iou(total))


def _save(trainer: Trainer, position: Position) -> None:
    job = trainer.job
    parts = {name: getattr(trainer, name).state_dict() for name in SHARED}
    mine, *others = job.processes.gather(
        State(loss=trainer.loss.state_dict(), random=random_states(job.settings.device))
    )
    state = vars(position) | parts | mine | ({"others": others} if others else {})
    job.processes.on_main(lambda: save_checkpoint(job.checkpoint, state))


def _restore(trainer: Trainer, state: State | None) -> Position:
    """Put the trainer back where the checkpoint was written; without one this is the start."""
    if state is None:
        return Position()
    rank = trainer.job.processes.rank
    try:
        others = state.pop("others", [])
        own = state | (others[rank - 1] if rank else {})  # each process has its own loss and random states
        for name in (*SHARED, "loss"):
            if name in own:  # the state of the loss was not kept at first
                getattr(trainer, name).load_state_dict(own.pop(name))
        if "random" in own:
            restore_random_states(own.pop("random"), trainer.job.settings.device)
        position = Position(**own)
        return replace(position, loss_sum=position.loss_sum.cpu())
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise EnsError(
            f"{trainer.job.checkpoint} does not fit this member ({reason}); delete it and repeat the command to train"
            " this fold again"
        ) from None
