"""The training loop: one fold of one member, from random weights (or a checkpoint) to EMA weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
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
from ensemble.training.hardware import autocast
from ensemble.training.schedule import cosine_with_warmup, ema_decay

State = dict[str, Any]

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

    def step(self, images_nchw: Tensor, labels_nhw: Tensor, step: int) -> Tensor:
        """One optimiser step and one update of the EMA; returns the loss."""
        settings, total = self.job.settings, self.job.steps * self.job.epochs
        tuning = settings.optimiser
        for group in self.optimiser.param_groups:
            group["lr"] = tuning.lr * cosine_with_warmup(step, total, tuning.warmup)
        with autocast(settings.device, settings.precision):
            outputs = self.network.supervised(images_nchw)
        loss = supervised_loss(self.loss, outputs, labels_nhw)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), tuning.clip)
        self.optimiser.step()
        update_average(self.average, self.network, ema_decay(step, total, tuning.ema_span))
        return loss.detach()


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
    settings = job.settings
    torch.manual_seed(derive_seed(settings.seed, job.fold, "weights"))
    network = build_network(settings, job.facts, pretrained=not job.checkpoint.is_file())
    mean_c, std_c = pixel_statistics(job.dataset, job.training_rows)
    network.mean_c.copy_(mean_c.reshape(1, -1, 1, 1))
    network.std_c.copy_(std_c.reshape(1, -1, 1, 1))
    network = network.to(settings.device).to(memory_format=torch.channels_last)
    counts_c = np.zeros(job.facts.outputs, np.int64)
    counts_c[: len(job.facts.classes)] = job.dataset.counts_nk[job.training_rows].sum(0)
    loss = build_loss(settings.loss.name, torch.from_numpy(counts_c), settings.loss.options).to(settings.device)
    # Norms and biases are not decayed: shrinking them only rescales what the next layer undoes.
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.optimiser.weight_decay},
        {"params": vectors, "weight_decay": 0},
    ]
    optimiser = torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=settings.optimiser.lr, fused=settings.device != "mps"
    )
    return Trainer(network, deepcopy(network).eval().requires_grad_(False), loss, optimiser, job)


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the EMA towards the network: floating weights and BatchNorm statistics by ``1 - decay``, counters copied."""
    with torch.no_grad():
        kept, new = average.state_dict(), network.state_dict()
        floating = [name for name, tensor in kept.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([kept[name] for name in floating], [new[name] for name in floating], 1 - decay)  # pyright: ignore[reportPrivateUsage]
        for name in kept.keys() - set(floating):
            kept[name].copy_(new[name])


def train_fold(job: FoldJob, tick: Tick, on_epoch: Callable[[dict[str, Any]], None]) -> dict[str, Tensor]:
    """Train one fold to its last epoch and return the weights to keep.

    Goes on from ``job.checkpoint`` where there is one. All randomness of an epoch is a function of (seed, fold,
    epoch), so a resumed run repeats the uninterrupted one.

    Raises:
        EnsError: the loss stops being finite.
    """
    trainer = start_training(job)
    first, restored, history = _restore(trainer, load_checkpoint(job.checkpoint, job.settings.device))
    best: State | None = restored
    for row in history:
        on_epoch(row)
    for epoch in range(first, job.epochs):
        row = _train_epoch(trainer, epoch, tick)
        if _evaluated(job, epoch):
            row["val_miou"] = validation_miou(trainer.average, job)
            if job.settings.keep == "best" and (best is None or row["val_miou"] > best["val_miou"]):
                best = State(val_miou=row["val_miou"], epoch=epoch, weights=deepcopy(trainer.average.state_dict()))
        history.append(row)
        on_epoch(row)
        save_checkpoint(job.checkpoint, _snapshot(trainer, epoch + 1, best, history))
    return best["weights"] if best is not None else trainer.average.state_dict()


def _train_epoch(trainer: Trainer, epoch: int, tick: Tick) -> dict[str, Any]:
    job, start = trainer.job, time.perf_counter()
    seed = derive_seed(job.settings.seed, job.fold, epoch)
    torch.manual_seed(seed)
    trainer.network.train()
    total = torch.zeros(())
    settings = job.settings
    batches = epoch_batches(
        job.dataset,
        job.training_rows,
        settings.batch_size,
        settings.augmentation,
        seed,
        settings.device,
        settings.sampler,
    )
    name = f"training fold {job.fold + 1}" if settings.data.folds else "training"
    for index, (images_nchw, labels_nhw) in enumerate(batches):
        step = epoch * job.steps + index
        loss = trainer.step(images_nchw, labels_nhw, step)
        total = total + loss.cpu()
        tick(name, step + 1, job.steps * job.epochs, f"epoch {epoch + 1}/{job.epochs} loss {float(loss):.3f}")
    mean = float(total) / job.steps
    if not np.isfinite(mean):
        raise EnsError(
            f"the loss is no longer finite in epoch {epoch + 1}; lower --lr (now {settings.optimiser.lr:g})"
            " or use --precision fp32"
        )
    seconds = time.perf_counter() - start
    images = job.steps * min(settings.batch_size, len(job.training_rows))
    tuning, total_steps = settings.optimiser, job.steps * job.epochs
    return {
        "fold": job.fold,
        "epoch": epoch + 1,
        "lr": tuning.lr * cosine_with_warmup(epoch * job.steps, total_steps, tuning.warmup),
        "train_loss": mean,
        "val_miou": None,
        "seconds": seconds,
        "images_per_second": images / seconds,
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


def _snapshot(trainer: Trainer, epoch: int, best: State | None, history: list[State]) -> State:
    return {
        "epoch": epoch,
        "network": trainer.network.state_dict(),
        "average": trainer.average.state_dict(),
        "optimiser": trainer.optimiser.state_dict(),
        "best": best,
        "history": history,
    }


def _restore(trainer: Trainer, state: State | None) -> tuple[int, State | None, list[State]]:
    """Next epoch, best weights so far and history: those of the checkpoint, or of a start."""
    if state is None:
        return 0, None, []
    trainer.network.load_state_dict(state["network"])
    trainer.average.load_state_dict(state["average"])
    trainer.optimiser.load_state_dict(state["optimiser"])
    return state["epoch"], state["best"], state["history"]
