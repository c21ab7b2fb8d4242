"""The loops that ``training.py`` compares: each trains one job and tells after every step, whoever watches."""

from __future__ import annotations

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import importlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ensemble.data import VOID
from ensemble.data.samplers import build_sampler
from ensemble.inference.allocator import memory_kept
from ensemble.inference.hardware import autocast
from ensemble.inference.network import Network, build_network, to_tensor
from ensemble.training.batches import derive_seed, epoch_batches, pixel_statistics
from ensemble.training.determinism import seed_everything
from ensemble.training.schedule import cosine_with_warmup
from ensemble.training.train import plan_training
from ensemble.training.trainer import FoldJob, start_training

OnStep = Callable[[nn.Module], bool]
"""Given the network that one would keep, after every step; True ends the training."""

SMP: dict[str, tuple[str, dict[str, Any]]] = {  # our architectures in segmentation-models-pytorch's words
    "smp-unet": ("unet", {"encoder_depth": 4, "decoder_channels": (128, 64, 32, 16)}),
    "linknet": ("linknet", {"encoder_depth": 4}),
    "pspnet": ("pspnet", {"encoder_depth": 3, "psp_out_channels": 256, "psp_dropout": 0.2, "upsampling": 8}),
}


def make_job(task: dict[str, Any], out: str) -> FoldJob:
    """What every contestant trains: data, split, seed and settings as `ens train` resolves them."""
    names = ("data", "arch", "batch_size", "precision", "seed", "epochs")
    same = {"loss": "ce", "augment": "hflip + vflip", "optimiser": "adamw", "device": "cpu", "out": out}
    plan = plan_training({name: task[name] for name in names} | same)
    return plan.job(0, task["epochs"])


def our_body(job: FoldJob) -> nn.Module:
    """The architecture as the engine builds it."""
    return build_network(job.settings, job.facts).body


def smp_body(job: FoldJob) -> nn.Module:
    """The architecture as segmentation-models-pytorch builds it; the engine's where it has none like it."""
    if job.settings.architecture.name not in SMP:
        return our_body(job)
    import segmentation_models_pytorch  # noqa: PLC0415  (two seconds)

    name, options = SMP[job.settings.architecture.name]
    sizes = {"in_channels": job.facts.bands, "classes": job.facts.outputs}
    return segmentation_models_pytorch.create_model(name, "resnet18", encoder_weights=None, **sizes, **options)


def fresh_network(job: FoldJob, build: Callable[[FoldJob], nn.Module] = our_body) -> Network:
    """An architecture with random weights from the job's seed, behind the standardisation of its images."""
    seed_everything(derive_seed(job.settings.seed, job.fold, "weights"))
    return Network(build(job), *pixel_statistics(job.dataset, job.training_rows))


def batches_of(job: FoldJob) -> Iterator[NDArray[np.int64]]:
    """Positions among the training images of every batch of every epoch, in the order of the engine."""
    rows, settings = job.training.shown, job.settings
    sample = build_sampler(settings.sampler)
    shape = (job.steps, min(settings.batch_size, len(rows)))
    for epoch in range(job.epochs):
        order_seed = np.random.SeedSequence(derive_seed(settings.seed, job.fold, epoch)).spawn(1)[0]
        yield from sample(job.dataset.counts_nk[rows], shape, np.random.default_rng(order_seed)).positions


def ours(job: FoldJob, on_step: OnStep, *, compiled: bool = False) -> None:
    """The engine's steps, as ``train_fold`` takes them: EMA, clipping, schedule, augmentation by a thread."""
    trainer, settings, step = start_training(job), job.settings, 0
    if compiled:
        trainer.network.supervised = torch.compile(trainer.network.supervised)
    for epoch in range(job.epochs):
        seed = derive_seed(settings.seed, job.fold, epoch)
        seed_everything(seed)
        trainer.network.train()
        data = (job.training, settings.batch_size, settings.augmentation)
        made = closing(epoch_batches(*data, seed, settings.device, settings.sampler))
        with memory_kept(settings.device), made as batches:
            for images_nchw, labels_nhw in batches:
                trainer.step(images_nchw, labels_nhw, step)
                step += 1
                if on_step(trainer.average):
                    return


def hand_written(job: FoldJob, on_step: OnStep) -> None:
    """The least that trains, written by hand: tensors in memory, and in bf16 channels_last and the fused AdamW."""
    settings, tuning = job.settings, job.settings.optimiser
    bf16, total = settings.precision == "bf16", job.steps * job.epochs
    layout = torch.channels_last if bf16 else torch.contiguous_format
    network = fresh_network(job).to(memory_format=layout).train()
    optimiser = torch.optim.AdamW(network.parameters(), tuning.lr, weight_decay=tuning.weight_decay, fused=bf16)
    rows = job.training_rows.tolist()
    all_nchw = to_tensor(job.dataset.images(rows), "cpu").contiguous()
    all_nhw = torch.from_numpy(job.dataset.labels(rows))
    for step, batch in enumerate(batches_of(job)):
        for group in optimiser.param_groups:
            group["lr"] = tuning.lr * cosine_with_warmup(step, total, tuning.warmup)
        images_nchw, labels_nhw = flipped(all_nchw[batch], all_nhw[batch].long())
        with autocast("cpu", settings.precision):
            logits_nchw = network(images_nchw.contiguous(memory_format=layout))
        loss = F.cross_entropy(logits_nchw.float(), labels_nhw, ignore_index=VOID)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if on_step(network):
            return


def flipped(images_nchw: Tensor, labels_nhw: Tensor) -> tuple[Tensor, Tensor]:
    """Each image with its labels flipped left-right and up-down, each with probability 1/2."""
    for axis in (-1, -2):
        turned_n11 = torch.rand(len(images_nchw), 1, 1) < 0.5
        images_nchw = torch.where(turned_n11[:, None], images_nchw.flip(axis), images_nchw)
        labels_nhw = torch.where(turned_n11, labels_nhw.flip(axis), labels_nhw)
    return images_nchw, labels_nhw


class Tiles(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """One image and its labels at a time, flipped, as a ``DataLoader`` wants them."""

    def __init__(self, job: FoldJob) -> None:
        rows = job.training_rows.tolist()
        self.images_nhwc, self.labels_nhw = job.dataset.images(rows), job.dataset.labels(rows)

    def __len__(self) -> int:
        return len(self.labels_nhw)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        image_nchw = to_tensor(self.images_nhwc[place : place + 1], "cpu")
        image_nchw, label_nhw = flipped(image_nchw, torch.from_numpy(self.labels_nhw[place : place + 1]).long())
        return image_nchw[0].contiguous(), label_nhw[0]


class Order(torch.utils.data.Sampler[int]):
    """The engine's order of the images, a new one every epoch."""

    def __init__(self, job: FoldJob) -> None:
        self.batches, self.steps = batches_of(job), job.steps
        self.images = job.steps * min(job.settings.batch_size, len(job.training_rows))

    def __iter__(self) -> Iterator[int]:
        for batch in islice(self.batches, self.steps):
            yield from batch.tolist()

    def __len__(self) -> int:
        return self.images


def lightning(job: FoldJob, on_step: OnStep, workers: int = 0) -> None:
    """A LightningModule around the network, a DataLoader and a Trainer with their defaults, without metrics."""
    pl: Any = importlib.import_module("lightning")  # no dependency of the package

    tuning, total = job.settings.optimiser, job.steps * job.epochs

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = fresh_network(job, smp_body)

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            images_nchw, labels_nhw = batch
            return F.cross_entropy(self.network(images_nchw), labels_nhw, ignore_index=VOID)

        def configure_optimizers(self) -> Any:
            optimiser = torch.optim.AdamW(self.network.parameters(), tuning.lr, weight_decay=tuning.weight_decay)
            schedule = torch.optim.lr_scheduler.LambdaLR(
                optimiser, lambda step: cosine_with_warmup(step, total, tuning.warmup)
            )
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    class AfterSteps(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any, **kwargs: Any) -> None:
            trainer.should_stop = on_step(pl_module.network)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        loader = torch.utils.data.DataLoader(
            Tiles(job),
            batch_size=min(job.settings.batch_size, len(job.training_rows)),
            sampler=Order(job),
            num_workers=workers,
        )
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=job.epochs, callbacks=[AfterSteps()], default_root_dir=folder
        )
        trainer.fit(Module(), loader)


CONTESTANTS: dict[str, tuple[Callable[..., None], str]] = {  # the loop and its precision
    "ours": (ours, "auto"),
    "ours-fp32": (ours, "fp32"),
    "ours-compiled": (partial(ours, compiled=True), "auto"),
    "hand-fp32": (hand_written, "fp32"),
    "hand-bf16": (hand_written, "bf16"),
    "lightning": (lightning, "fp32"),
}
