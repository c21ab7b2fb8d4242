"""Step 5 of training: network, EMA weights, loss and optimiser of a fold, and one optimiser step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ensemble.config import DataFacts, MemberSettings
from ensemble.data import Dataset
from ensemble.data.windows import TrainingImages
from ensemble.inference.hardware import autocast
from ensemble.inference.network import Network, build_network
from ensemble.losses import build_loss
from ensemble.training.batches import derive_seed, pixel_statistics, steps_per_epoch
from ensemble.training.cpu_layers import use_fast_layers
from ensemble.training.determinism import seed_everything
from ensemble.training.distributed.processes import ONE_PROCESS, Processes
from ensemble.training.encoder import ENCODER, freeze
from ensemble.training.optimiser import AdamW, MuonAndAdamW, make_optimiser
from ensemble.training.schedule import cosine_with_warmup, ema_decay, encoder_factor
from ensemble.training.taught_loss import TaughtLoss

STANDARDS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and deviation of red, green and blue by the name of ``standardise``."""


@dataclass(frozen=True)
class FoldJob:
    """Everything that training one fold needs; the number of epochs is resolved."""

    settings: MemberSettings
    facts: DataFacts
    dataset: Dataset
    training: TrainingImages
    validation_rows: NDArray[np.int64]
    fold: int
    epochs: int
    checkpoint: Path
    processes: Processes = ONE_PROCESS

    @property
    def training_rows(self) -> NDArray[np.int64]:
        """Rows of the training images."""
        return self.training.rows

    @property
    def steps(self) -> int:
        """Number of optimiser steps of one epoch."""
        return steps_per_epoch(len(self.training.shown), self.settings.batch_size, self.settings.epoch_steps)

    @property
    def all_steps(self) -> int:
        """Number of optimiser steps of all epochs."""
        return self.steps * self.epochs


@dataclass
class Trainer:
    """The objects that change while a fold trains."""

    network: Network
    average: Network
    loss: nn.Module
    optimiser: AdamW | MuonAndAdamW
    job: FoldJob
    supervise: Callable[[Tensor], Sequence[Tensor]]  # ``network.supervised``, or its data-parallel form
    frozen: Sequence[nn.Module] = ()  # parts that do not learn

    def prepare(self) -> None:
        """Put the network in training mode, and its frozen parts in evaluation mode: their statistics stay."""
        self.network.train()
        for part in self.frozen:
            part.eval()

    def step(self, images_nchw: Tensor, labels_nhw: Tensor, step: int) -> Tensor:
        """Do one optimiser step and one EMA update; return the loss of this process's share of the batch."""
        settings, total = self.job.settings, self.job.all_steps
        tuning = settings.optimiser
        rate = tuning.lr * cosine_with_warmup(step, total, tuning.warmup)
        factor = encoder_factor(step, total, settings.encoder_lr, settings.head_warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * factor if group.get("part") == ENCODER else rate
        with autocast(settings.device, settings.precision):
            outputs = self.supervise(images_nchw)
        loss = supervised_loss(self.loss, outputs, labels_nhw)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(self.parameters, tuning.clip)
        self.optimiser.step()
        self.averaging.update(ema_decay(step, total, tuning.ema_span))
        return loss.detach()

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the network; to find them takes a millisecond."""
        return list(self.network.parameters())

    @cached_property
    def averaging(self) -> Averaging:
        """What moves the EMA."""
        return Averaging(self.average, self.network)


class _Supervised(nn.Module):
    """A module whose forward pass is ``network.supervised``, because data-parallel training wraps the forward pass."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_nchw: Tensor) -> list[Tensor]:
        return self.network.supervised(images_nchw)


def supervised_loss(loss: nn.Module, outputs: Sequence[Tensor], labels_nhw: Tensor) -> Tensor:
    """Return the weighted mean of the losses of all supervised logits: 1, 1/2, 1/4 ... from the final logits on.

    Reference:
        Lee et al., Deeply-supervised nets, 2015; the weights are those of nnU-Net (Isensee et al., 2021).
    """
    weights = [0.5**level for level in range(len(outputs))]
    losses = [w * loss(logits.float(), labels_nhw) for w, logits in zip(weights, outputs, strict=True)]
    return torch.stack(losses).sum() / sum(weights) if len(losses) > 1 else losses[0]


def start_training(job: FoldJob) -> Trainer:
    """Return the trainer of a fold before its first step.

    The random weights are a function of (seed, fold); the loss gets the class counts of the training rows.
    """
    settings, device = job.settings, job.processes.device(job.settings.device)
    if job.training.soft is not None:
        job.training.soft.prepare()  # before the seed is set, because it builds networks
    seed_everything(derive_seed(settings.seed, job.fold, "weights"))
    network = build_network(settings, job.facts, pretrained=not job.checkpoint.is_file())
    mean_c, std_c = standard_of(job)
    network.mean_c.copy_(mean_c.reshape(1, -1, 1, 1))
    network.std_c.copy_(std_c.reshape(1, -1, 1, 1))
    network = network.to(device).to(memory_format=torch.channels_last)
    if (settings.device, settings.precision) == ("cpu", "bf16"):
        use_fast_layers(network)
    counts_c = np.zeros(job.facts.outputs, np.int64)
    counts_c[: len(job.facts.classes)] = job.dataset.counts_nk[job.training_rows].sum(0)
    loss = build_loss(settings.loss.name, torch.from_numpy(counts_c), settings.loss.options).to(device)
    if settings.taught is not None and job.training.soft is not None:
        loss = TaughtLoss(loss, settings.taught.label_share)
    frozen = freeze(network, settings.freeze)
    optimiser = make_optimiser(network, settings)
    average = deepcopy(network).eval().requires_grad_(False)
    alone = job.processes.count == 1
    supervise = network.supervised if alone else job.processes.data_parallel(_Supervised(network))
    return Trainer(network, average, loss, optimiser, job, supervise, frozen)


def standard_of(job: FoldJob) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each band that pixels in 0..1 are standardised with.

    ``imagenet`` and ``half`` are those that published weights were trained with: three bands get one each, any other
    number of bands gets their means.
    """
    if (name := job.settings.standardise) == "data":
        return pixel_statistics(job.dataset, job.training_rows)
    mean_c, std_c = (torch.tensor(values, dtype=torch.float64) for values in STANDARDS[name])
    bands = job.facts.bands
    return (mean_c, std_c) if bands == len(mean_c) else (mean_c.mean().expand(bands), std_c.mean().expand(bands))


def clip_gradients(parameters: Sequence[nn.Parameter], largest: float) -> None:
    """Scale all gradients by ``largest / norm`` if the norm of all of them together is larger.

    It does what `torch.nn.utils.clip_grad_norm_` does. That function always scales, by 1 if nothing is to be clipped;
    on a CPU it is faster to look at the norm first.
    """
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if norm.device.type != "cpu" or not norm + 1e-6 <= largest:  # also if the norm is not a number
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)


class Averaging:
    """Move the EMA towards the network, in place.

    Weights and BatchNorm statistics follow ``average += (1 - decay) * (network - average)``; counters are copied. Where
    they are is found once, because a state dict takes a millisecond to make.
    """

    def __init__(self, average: nn.Module, network: nn.Module) -> None:
        state = average.state_dict()
        floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
        counters = [name for name in state if name not in floating]
        self.floating = [[_place(module, name) for name in floating] for module in (average, network)]
        self.counters = [[_place(module, name) for name in counters] for module in (average, network)]

    def update(self, decay: float) -> None:
        """Move by one step."""
        with torch.no_grad():
            kept, new = ([getattr(*place) for place in places] for places in self.floating)
            torch._foreach_lerp_(kept, new, 1 - decay)  # pyright: ignore[reportPrivateUsage]
            for place, source in zip(*self.counters, strict=True):
                getattr(*place).copy_(getattr(*source))


def _place(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the submodule and the attribute of a name in a state dict."""
    owner, _, attribute = name.rpartition(".")
    return module.get_submodule(owner), attribute
