"""From what the user asked for to a complete plan of one member, with every mistake found before a file is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble.architectures import ARCHITECTURES
from ensemble.config import Component, DataFacts, DataSettings, Keep, MemberSettings, OptimiserSettings, Tta
from ensemble.core.errors import EnsError
from ensemble.core.files import check_disk, check_folder, file_digest
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import BUILT_IN
from ensemble.data import Dataset, Split, check_classes, open_dataset, split_data
from ensemble.data.cleaning.exclusion import read_exclusion
from ensemble.data.groups import image_groups
from ensemble.data.samplers import resolve_sampler
from ensemble.inference.hardware import Hardware, choose_hardware
from ensemble.inference.network import build_network
from ensemble.losses import LOSSES, check_loss
from ensemble.losses.expression import loss_text, parse_sum
from ensemble.runs.layout import checkpoint_name, is_run, members_folder
from ensemble.runs.status import is_complete
from ensemble.training.distributed.launcher import DEVICES, check_shares, launched_processes
from ensemble.training.distributed.processes import ONE_PROCESS, Processes
from ensemble.training.trainer import FoldJob

DEFAULT_EPOCHS = 30
STORE_BYTES_PER_VALUE = 0.5  # measured 0.2 to 0.36; a store never needs more than one byte


@dataclass(frozen=True)
class Plan:
    """A member that can be trained: settings resolved, data open, split made, directory named."""

    settings: MemberSettings
    facts: DataFacts
    dataset: Dataset
    groups: tuple[str, ...]
    split: Split
    hardware: Hardware
    parameters: int
    path: Path
    processes: Processes = ONE_PROCESS

    @property
    def state(self) -> Literal["new", "interrupted", "complete"]:
        """What the directory holds already."""
        if not is_run(self.path):
            return "new"
        return "complete" if is_complete(self.path) else "interrupted"

    def training_rows(self, fold: int) -> NDArray[np.int64]:
        """Rows the network of ``fold`` learns from: those of its training part that carry any label."""
        rows = self.split.training(fold)
        left_out = rows_of(self.dataset, (*self.settings.exclude, *self.settings.data.unscored))
        return rows[(self.dataset.counts_nk[rows].sum(1) > 0) & ~np.isin(rows, left_out)]

    @property
    def disk_bytes(self) -> int:
        """Disk that training needs, about: the stores, and for each fold its weights and a checkpoint."""
        facts, folds = self.facts, len(self.split.validation)
        images = len(self.split.scored) + len(self.dataset.test_ids)
        stored = images * len(facts.classes) * facts.height * facts.width * STORE_BYTES_PER_VALUE
        # Weights per fold, and one checkpoint (network, EMA, two optimiser moments) with its successor beside it.
        return int(stored + self.parameters * 4 * (folds + 8) + 20e6)

    def job(self, fold: int, epochs: int) -> FoldJob:
        """Return the training job of one fold; it has no test-time augmentation, which does not change the weights."""
        return FoldJob(
            settings=self.settings.model_copy(update={"tta": "none"}),
            facts=self.facts,
            dataset=self.dataset,
            training_rows=self.training_rows(fold),
            validation_rows=self.split.validation[fold],
            fold=fold,
            epochs=epochs,
            checkpoint=self.path / checkpoint_name(fold),
            processes=self.processes,
        )


def rows_of(dataset: Dataset, ids: Sequence[str]) -> NDArray[np.int64]:
    """Rows of the images with these ids, ascending."""
    wanted = set(ids)
    return np.array([row for row, name in enumerate(dataset.ids) if name in wanted], np.int64)


def plan_member(
    data: DataSettings,
    arch: str,
    loss: str,
    *,
    arch_options: Mapping[str, Any] | None = None,
    loss_options: Mapping[str, Any] | None = None,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    augment: str = "flips",
    sampler: str = "uniform",
    exclude: str | None = None,
    exclude_from_score: bool = False,
    epochs: int | None = None,
    budget_seconds: float | None = None,
    batch_size: int = 32,
    lr: float | None = None,
    weight_decay: float | None = None,
    seed: int = 0,
    keep: Keep = "last",
    tta: Tta = "none",
    device: str = "auto",
    precision: str = "auto",
    deterministic: bool = False,
    out: Path = Path("runs"),
    progress: Progress = no_progress,
) -> Plan:
    """Resolve and check everything that ``ens train`` takes; writes nothing.

    Raises:
        EnsError: any mistake in names, options, data, split, disk or folder.
    """
    from ensemble.data.augmentation.expression import resolve_augmentation, try_augmentation  # noqa: PLC0415  (albumentations: 1 s)

    if exclude_from_score and not exclude:
        raise EnsError("--exclude-from-score goes with --exclude suspects.csv, which says which images; add it")
    if epochs is not None and budget_seconds is not None:
        raise EnsError("expected --epochs or --budget, got both; a budget is turned into a number of epochs")
    architecture = _architecture(arch, dict(arch_options or {}), encoder, encoder_weights)
    expression, typed = check_loss(loss_text(loss, loss_options or {}))
    augmentation, order = resolve_augmentation(augment), resolve_sampler(sampler)
    hardware, processes = choose_hardware(device, precision), launched_processes().count
    if processes > 1 and hardware.device not in DEVICES:
        raise EnsError(f"several processes train one member on {' or '.join(DEVICES)}, not on {hardware.device}")
    dataset = open_dataset(data)
    try_augmentation(augmentation, dataset.images([0])[0])
    groups = image_groups(dataset, progress)
    split = split_data(dataset.ids, groups, dataset.foreground_nk, data)
    excluded = read_exclusion(exclude, dataset.ids) if exclude else ()
    if exclude_from_score:
        data, excluded = data.model_copy(update={"unscored": excluded}), ()
        split = split.without(rows_of(dataset, data.unscored), dataset.ids)
    counts_nk = dataset.counts_nk.copy()
    counts_nk[rows_of(dataset, (*excluded, *data.unscored))] = 0
    check_classes(split, counts_nk, dataset.classes)
    facts = dataset.facts(split.split_hash)
    given: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
    settings = MemberSettings(
        data=data.model_copy(update={"background": dataset.background}),
        architecture=architecture,
        pretrained=_pretrained(architecture.options.get("encoder_weights")),
        loss=Component(name=expression, options=typed, origin=_origins(expression)),
        augmentation=augmentation,
        sampler=order,
        exclude=excluded,
        optimiser=OptimiserSettings(**{name: value for name, value in given.items() if value is not None}),
        epochs=DEFAULT_EPOCHS if epochs is None and budget_seconds is None else epochs,
        budget_seconds=budget_seconds,
        batch_size=batch_size,
        seed=seed,
        keep=keep,
        tta=tta,
        device=hardware.device,
        precision=hardware.precision,
        threads=hardware.threads,
        deterministic=deterministic,
        processes=processes,
    )
    parameters = sum(p.numel() for p in build_network(settings, facts).parameters())
    path = members_folder(out) / settings.directory_name(facts.data_hash + facts.split_hash)
    plan = Plan(settings, facts, dataset, groups, split, hardware, parameters, path)
    if processes > 1:
        for fold in range(len(split.validation)):
            check_shares(batch_size, len(plan.training_rows(fold)), processes)
    if plan.state != "complete":
        check_folder(path)
        check_disk(out, plan.disk_bytes, "this member")
    return plan


def _architecture(name: str, options: dict[str, Any], encoder: str | None, encoder_weights: str | None) -> Component:
    known = ARCHITECTURES.options(name)
    for option, value in (("encoder", encoder), ("encoder_weights", encoder_weights)):
        if value is not None and option not in known:
            takers = [other for other in ARCHITECTURES if option in ARCHITECTURES.options(other)]
            flag = f"--{option.replace('_', '-')}"
            raise EnsError(f"the architecture '{name}' has no encoder; {flag} goes with {', '.join(takers)}")
        if value is not None:
            options[option] = value
    defaults = {key: parameter.default for key, parameter in known.items()}
    return Component(
        name=name,
        options=defaults | ARCHITECTURES.check_options(name, options),
        origin=ARCHITECTURES.origin(name),
    )


def _pretrained(weights: str | None) -> str | None:
    """What the encoder starts from, in a form that says the same wherever the file lies."""
    file = Path(weights or "")
    return file_digest(file) if file.is_file() else weights


def _origins(expression: str) -> str:
    """Where the losses of a sum come from; built-in ones are not named beside others."""
    foreign = sorted({LOSSES.origin(term.name) for term in parse_sum(expression)} - {BUILT_IN})
    return ", ".join(foreign) or BUILT_IN
