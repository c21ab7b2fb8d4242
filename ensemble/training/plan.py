"""Turn the settings of a user into a complete plan of one member; find every mistake before a file is written."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble.architectures import check_encoder_weights
from ensemble.config import RATES, DataFacts, DataSettings, MemberSettings, OptimiserSettings, TrainSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import check_disk, check_folder
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import BUILT_IN
from ensemble.data import Dataset, Split, check_classes, open_dataset, split_dataset
from ensemble.data.augmentation.expression import try_augmentation
from ensemble.data.cleaning.exclusion import read_exclusion
from ensemble.data.groups import image_groups
from ensemble.data.windows import TrainingImages, choose_crop, frame_for, read_window
from ensemble.inference.hardware import Hardware, choose_hardware
from ensemble.inference.memory import WEIGHT_BYTES, check_network_memory, training_bytes
from ensemble.inference.network import build_network, build_within_memory, count_parameters
from ensemble.runs.layout import checkpoint_name, is_run, members_folder
from ensemble.runs.status import is_complete
from ensemble.training.components import resolve_components
from ensemble.training.distributed.launcher import SHARED_DEVICES, check_shares, launched_processes
from ensemble.training.distributed.processes import ONE_PROCESS, Processes
from ensemble.training.encoder import check_encoder
from ensemble.training.length import check_length, resolve_length
from ensemble.training.optimiser import MOMENTS, choose_optimiser, hidden_kernels
from ensemble.training.trainer import FoldJob

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
    started: float = field(default_factory=time.perf_counter)  # when a time budget began, before the data were read
    hidden: bool = True  # whether the network has kernels for Muon
    measured: bool = False  # whether its batch is known to fit into the memory
    teaching: Callable[[int, TrainingImages], TrainingImages] | None = None  # what a student learns from in a fold

    @property
    def state(self) -> Literal["new", "interrupted", "complete"]:
        """Return whether the directory is new, holds an interrupted run, or holds the finished member."""
        if not is_run(self.path):
            return "new"
        return "complete" if is_complete(self.path) else "interrupted"

    def like(self, **changes: Any) -> Plan:
        """Return the plan of the member in the same folder that differs in these settings."""
        settings = self.settings.model_copy(update=changes)
        name = settings.directory_name(self.facts.data_hash + self.facts.split_hash)
        return replace(self, settings=settings, path=self.path.with_name(name))

    def training_rows(self, fold: int) -> NDArray[np.int64]:
        """Return the rows from which the network of ``fold`` learns: labelled images of its training part."""
        rows = self.split.training(fold)
        left_out = rows_of(self.dataset, (*self.settings.exclude, *self.settings.data.unscored))
        return rows[(self.dataset.counts_nk[rows].sum(1) > 0) & ~np.isin(rows, left_out)]

    def training(self, fold: int) -> TrainingImages:
        """Return the training images of a fold, as the settings show them."""
        settings = self.settings
        frame = None if settings.input_size is None else frame_for(self.dataset, settings.input_size)
        images = TrainingImages(self.dataset, self.training_rows(fold), settings.crop, frame)
        return images if self.teaching is None else self.teaching(fold, images)

    @property
    def fewest_shown(self) -> NDArray[np.int64]:
        """Return the rows that an epoch shows of the fold that has the fewest; see `TrainingImages.shown`."""
        return min((self.training(fold).shown for fold in range(len(self.split.validation))), key=len)

    @property
    def disk_bytes(self) -> int:
        """Estimate the bytes that training needs on disk: stores, weights of every fold and a checkpoint."""
        facts, folds = self.facts, len(self.split.validation)
        sizes = [*(self.dataset.sizes[row] for row in self.split.scored), *self.dataset.test_sizes]
        stored = len(facts.classes) * sum(map(math.prod, sizes)) * STORE_BYTES_PER_VALUE
        # Weights per fold, one checkpoint (network, EMA, moments of the optimiser), while another is written.
        checkpoint = 2 + MOMENTS[self.settings.optimiser.name]
        return int(stored + self.parameters * WEIGHT_BYTES * (folds + 2 * checkpoint) + 20e6)

    def job(self, fold: int, epochs: int) -> FoldJob:
        """Return the training job of one fold; it has no test-time augmentation, which does not change the weights."""
        return FoldJob(
            settings=self.settings.model_copy(update={"tta": "none"}),
            facts=self.facts,
            dataset=self.dataset,
            training=self.training(fold),
            validation_rows=self.split.validation[fold],
            fold=fold,
            epochs=epochs,
            checkpoint=self.path / checkpoint_name(fold),
            processes=self.processes,
        )


def rows_of(dataset: Dataset, ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the rows of the images with these ids, ascending."""
    wanted = set(ids)
    return np.array([row for row, name in enumerate(dataset.ids) if name in wanted], np.int64)


def plan_member(
    asked: TrainSettings, out: Path = Path("runs"), progress: Progress = no_progress, known: Plan | None = None
) -> Plan:
    """Resolve and check all settings of a user; write nothing.

    Args:
        asked: the settings as the user gave them.
        out: folder for runs.
        progress: callback that receives the progress.
        known: a plan whose data, split and left out images are taken, instead of those of ``asked``; and its number
            of parameters, if the network is the same.

    Raises:
        EnsError: any mistake in names, options, data, split, disk or folder, or a network too large for the memory.
    """
    started = time.perf_counter()
    components, hardware = check_settings(asked)
    processes = launched_processes().count
    if processes > 1 and hardware.device not in SHARED_DEVICES:
        raise EnsError(f"several processes train one member on {' or '.join(SHARED_DEVICES)}, not on {hardware.device}")
    data = asked.part(DataSettings, source=asked.data)
    dataset = open_dataset(data, progress) if known is None else known.dataset
    crop = choose_crop(asked.crop, dataset, asked.input_size)
    try_augmentation(components["augmentation"], _sample(dataset, crop))
    if known is None:
        groups, split, data, excluded = _split(asked, dataset, data, progress)
    else:
        groups, split, data, excluded = known.groups, known.split, known.settings.data, known.settings.exclude
    shown = _fewest_shown(dataset, split, (*excluded, *data.unscored), crop)
    length = resolve_length(asked, shown, windows=crop is not None)
    resolved: dict[str, Any] = components | {
        "data": data.model_copy(update={"background": dataset.background}),
        "exclude": excluded,
        "crop": crop,
        "optimiser": {},  # its name depends on the network
        "epochs": None if length is None else length.epochs,
        "epoch_steps": None if length is None else length.epoch_steps,
        "budget_seconds": asked.budget,
        "device": hardware.device,
        "precision": hardware.precision,
        "threads": hardware.threads,
        "processes": processes,
    }
    facts, settings = dataset.facts(split.split_hash), asked.part(MemberSettings, **resolved)
    if known is not None and (known.settings.architecture, known.facts) == (settings.architecture, facts):
        parameters, hidden = known.parameters, known.hidden
    else:
        network = build_within_memory(settings, facts)
        parameters, hidden = count_parameters(network), bool(hidden_kernels(network))
        del network  # its memory is free again, as the check of what training needs expects
    settings = settings.model_copy(update={"optimiser": _optimiser(asked, settings, hidden=hidden)})
    path = members_folder(out) / settings.directory_name(facts.data_hash + facts.split_hash)
    plan = Plan(settings, facts, dataset, groups, split, hardware, parameters, path, started=started, hidden=hidden)
    _check_room(plan, out)
    return plan


def check_settings(asked: TrainSettings) -> tuple[dict[str, Any], Hardware]:
    """Return the components and the hardware of a member; find every mistake that needs no data.

    Raises:
        EnsError: an unknown name or option, settings that do not go together, or a device that does not exist here.
    """
    if asked.exclude_from_score and not asked.exclude:
        raise EnsError("exclude_from_score needs exclude, the file that names the images, such as suspects.csv; add it")
    check_length(asked)
    return resolve_components(asked), choose_hardware(asked.device, asked.precision)


def _optimiser(asked: TrainSettings, settings: MemberSettings, *, hidden: bool) -> OptimiserSettings:
    """Return the optimiser of a member; its implementation depends on the device."""
    name = choose_optimiser(asked.optimiser, hidden=hidden, pretrained=settings.pretrained is not None)
    rate = RATES[name] if asked.lr is None else asked.lr
    return asked.part(OptimiserSettings, name=name, lr=rate).model_copy(update={"kind": settings.optimiser.kind})


def _split(
    asked: TrainSettings, dataset: Dataset, data: DataSettings, progress: Progress
) -> tuple[tuple[str, ...], Split, DataSettings, tuple[str, ...]]:
    """Check the images; return their groups, the split, the settings that follow, and what training leaves out."""
    dataset.check_images()
    groups = image_groups(dataset, progress)
    split = split_dataset(dataset, groups, data)
    data = data.model_copy(update={"vault": tuple(dataset.ids[row] for row in split.vault)})
    if len(split.validation) > 1:
        data = data.model_copy(update={"folds": len(split.validation)})
    from_score = asked.exclude_from_score
    excluded = read_exclusion(asked.exclude, dataset.ids, scored=from_score) if asked.exclude else ()
    if from_score:
        data, excluded = data.model_copy(update={"unscored": excluded}), ()
        split = split.without(rows_of(dataset, data.unscored), dataset.ids)
    return groups, split, data, excluded


def _fewest_shown(dataset: Dataset, split: Split, left_out: Sequence[str], crop: tuple[int, int] | None) -> int:
    """Check that every fold learns every class; return what an epoch shows of the fold that has the fewest images."""
    counts_nk = dataset.counts_nk.copy()
    counts_nk[rows_of(dataset, left_out)] = 0
    check_classes(split, counts_nk, dataset.classes)
    labelled_n = counts_nk.sum(1) > 0
    learned = [split.training(fold) for fold in range(len(split.validation))]
    return min(len(TrainingImages(dataset, rows[labelled_n[rows]], crop).shown) for rows in learned)


def _sample(dataset: Dataset, crop: tuple[int, int] | None) -> NDArray[np.generic]:
    """Return an image as augmentations get it."""
    if crop is None:
        return dataset.image(0)
    return read_window(dataset, 0, (0, crop[0]), (0, crop[1]))[0]


def _check_room(plan: Plan, out: Path) -> None:
    """Refuse a batch that does not divide among processes, an unusable folder, and missing weights, memory or disk."""
    if plan.settings.processes > 1:
        for fold in range(len(plan.split.validation)):
            check_shares(plan.settings.batch_size, len(plan.training_rows(fold)), plan.settings.processes)
    if plan.state != "complete":
        architecture = plan.settings.architecture
        if architecture.origin == BUILT_IN:
            check_encoder_weights(architecture.options.get("encoder_weights"), architecture.options.get("encoder"))
        learning = _learning(plan)
        check_folder(plan.path)
        needed = training_bytes(plan.parameters, learning, moments=MOMENTS[plan.settings.optimiser.name])
        check_network_memory(plan.parameters, plan.settings.device, training=needed)
        check_disk(out, plan.disk_bytes, "this member")


def _learning(plan: Plan) -> int:
    """Return the number of parameters that learn, after a check of how the encoder is treated."""
    if not plan.settings.treats_encoder:
        return plan.parameters
    network = build_network(plan.settings, plan.facts)
    check_encoder(plan.settings, network)
    return count_parameters(network, learning=True)
