"""Train a finished member again from its configuration and compare the two, bit by bit."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import check_folder, file_digest
from ensemble.core.progress import Progress, no_progress
from ensemble.core.reading import guard
from ensemble.core.registry import BUILT_IN, IMPORTED
from ensemble.data import VOID, Dataset, Split, open_dataset, split_dataset
from ensemble.data.groups import image_groups
from ensemble.inference.hardware import Hardware, choose_hardware
from ensemble.inference.network import check_origin
from ensemble.losses import LOSSES
from ensemble.losses.expression import parse_sum
from ensemble.runs.layout import CONFUSIONS, HISTORY, members_folder, weights_name
from ensemble.runs.member import Member
from ensemble.runs.store import Store, parts_of
from ensemble.training.determinism import differences
from ensemble.training.plan import Plan, rows_of
from ensemble.training.train import train_member

SCORES = ("miou", "pixel_accuracy", "log_loss", "ece")
COMPARED = 8 << 20  # bytes of codes of each store that are compared at once


@dataclass(frozen=True)
class Reproduction:
    """Differences between a member and its repetition.

    Attributes:
        name: name of the member.
        path: directory of the repetition, or None if it was temporary.
        files: names of the files whose numbers differ: weights, probabilities, confusion matrices.
        weights: largest relative difference of a weight, relative to the largest weight of its tensor.
        pixels: share of the labelled pixels whose class differs.
        scores: scores then and now by name; the IoU of a class is ``iou <class>``.
        epoch: first epoch (fold, epoch) whose training loss differs, or None.
        environment: differences of the environment by name, then and now.
    """

    name: str
    path: Path | None
    files: tuple[str, ...]
    weights: float
    pixels: float
    scores: dict[str, tuple[float | None, float | None]]
    epoch: tuple[int, int] | None
    environment: dict[str, tuple[Any, Any]]

    @property
    def exact(self) -> bool:
        """Whether weights, probabilities and scores are the same to the bit."""
        return not self.files and not self.scores_apart

    @property
    def scores_apart(self) -> float:
        """Largest difference of a score; infinite if only one of the two members has it."""
        pairs = [pair for pair in self.scores.values() if pair[0] != pair[1]]
        return max((np.inf if a is None or b is None else abs(a - b) for a, b in pairs), default=0.0)


def reproduce(
    member: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress = no_progress,
) -> Reproduction:
    """Train a finished member again from its configuration and compare the two members.

    Device, precision, threads and optimiser come from the configuration, even if this machine would choose others.

    Args:
        member: directory of the member; it is not changed.
        data: new location of its data, if they moved.
        out: folder that keeps the repetition, which can be resumed; None uses a temporary folder.
        progress: callback that receives the progress.

    Raises:
        EnsError: the member is unfinished or imported, its data are missing or have changed, its device does not
            exist here, or ``out`` holds the member itself.
    """
    then = Member.open(Path(member))
    if then.settings.refit_of:
        raise EnsError(
            f"{then.name} is a refit, which cannot be reproduced; reproduce its twin {then.settings.refit_of}, and"
            " refit that one"
        )
    if then.settings.architecture.origin != IMPORTED:
        then.check(weights_name(fold) for fold in range(then.settings.data.folds or 1))
    if out is None and then.settings.processes > 1:
        raise EnsError(
            f"{then.name} was trained by {then.settings.processes} processes, which need a common folder; pass one"
            " as out"
        )
    with _folder(out) as folder:
        plan = plan_again(then, folder, data, progress)
        now = train_member(plan, progress)
        reproduction = compare(then, now, progress)
    return replace(reproduction, path=None if out is None else now.path)


@contextmanager
def _folder(out: str | Path | None) -> Generator[Path]:
    if out is not None:
        yield Path(out)
        return
    folder = tempfile.mkdtemp(prefix="ens-reproduce-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def plan_again(member: Member, out: Path, data: str | Path | None = None, progress: Progress = no_progress) -> Plan:
    """Return the plan of a finished member with another folder; see :func:`reproduce`."""
    plan = plan_of(member, data, progress)
    path = members_folder(out) / plan.settings.directory_name(plan.facts.data_hash + plan.facts.split_hash)
    if path.resolve() == member.path.resolve():
        raise EnsError(f"{out} is the folder of {member.name} itself; choose another output folder")
    check_folder(path)
    return replace(plan, path=path)


def plan_of(
    member: Member,
    data: str | Path | None = None,
    progress: Progress = no_progress,
    others: Sequence[Plan] = (),
) -> Plan:
    """Return the plan that a finished member was trained by, with its data open.

    Args:
        member: the member.
        data: new location of its data, if they moved.
        progress: callback that receives the progress.
        others: plans of other members; those of the same data have them open already.

    Raises:
        EnsError: the member was imported, its data are missing or have changed, or its device does not exist here.
    """
    settings, facts = member.settings, member.facts
    check_sources(member)
    source = settings.data.source if data is None else str(data)
    if source != "sample" and not Path(source).exists():
        raise EnsError(f"the data of {member.name} are not at {source} any more; pass their new location as data")
    data_settings = settings.data.model_copy(update={"source": source})
    again = settings.model_copy(update={"data": data_settings})
    hardware = Hardware(settings.device, settings.precision, settings.threads, "as in the configuration")
    for other in others:
        if (other.settings.data, other.facts) == (data_settings, facts):
            own = {"parameters": member.status["parameters"], "path": member.path}
            return replace(other, settings=again, hardware=hardware, **own)
    dataset = open_dataset(data_settings, progress)
    if dataset.data_hash != facts.data_hash:
        raise EnsError(
            f"{member.name} was trained on other data than {dataset.name} (the content differs); pass the original data"
        )
    groups, split = split_again(dataset, data_settings, facts.split_hash, member.name, progress)
    return Plan(again, facts, dataset, groups, split, hardware, member.status["parameters"], member.path)


def split_again(
    dataset: Dataset, settings: DataSettings, split_hash: str, name: str, progress: Progress = no_progress
) -> tuple[tuple[str, ...], Split]:
    """Return the group of each image and the split that a member was trained with.

    Args:
        dataset: its data.
        settings: its settings of the data and the split.
        split_hash: hash of its split.
        name: its name.
        progress: callback that receives the progress.

    Raises:
        EnsError: the images are split differently here.
    """
    groups = image_groups(dataset, progress)
    split = split_dataset(dataset, groups, settings)
    if settings.unscored:
        split = split.without(rows_of(dataset, settings.unscored), dataset.ids)
    if split.split_hash != split_hash:
        raise EnsError(
            f"the images of {dataset.name} are split differently now than when {name} was trained, because a"
            " library groups near-duplicates differently; install the versions in the member's environment.json"
        )
    return groups, split


def check_sources(member: Member) -> None:
    """Check that device, code and encoder weights exist and are the same; the configuration only names them.

    Raises:
        EnsError: they do not, or the member was not trained here from labels alone.
    """
    settings = member.settings
    if settings.architecture.origin == IMPORTED:
        raise EnsError(f"{member.name} was imported as probabilities; train it again with the tool that made it")
    if settings.trained_elsewhere:
        raise EnsError(
            f"{member.name} was imported as a trained network, and nobody here knows how it was trained; train it again"
            " with the tool that made it, or train its architecture with `ens train`"
        )
    if settings.taught is not None:
        raise EnsError(
            f"{member.name} is a student of {settings.taught.ensemble}, which no other command trains again; repeat"
            " `ens distil`"
        )
    try:
        choose_hardware(settings.device, settings.precision)
    except EnsError:
        raise EnsError(
            f"{member.name} was trained on {settings.device}, which torch does not find here; use a machine that has it"
        ) from None
    check_origin(settings.architecture, member.name)
    names = [term.name for term in parse_sum(settings.loss.name)]
    here = ", ".join(sorted({LOSSES.origin(name) for name in names if name in LOSSES} - {BUILT_IN})) or BUILT_IN
    if here != settings.loss.origin:
        raise EnsError(
            f"{member.name} was trained with the loss '{settings.loss.name}' of {settings.loss.origin}, but here it"
            f" comes from {here}; load that plug-in (--plugin, or load_plugin)"
        )
    weights = Path(settings.architecture.options.get("encoder_weights") or "")
    if weights.is_file() and file_digest(weights) != settings.pretrained:
        raise EnsError(
            f"{weights} holds other encoder weights than {member.name} started from; restore the original file"
        )


def compare(then: Member, now: Member, progress: Progress = no_progress) -> Reproduction:
    """Compare two members of the same configuration; see :class:`Reproduction`."""
    names = [weights_name(fold) for fold in range(then.settings.data.folds or 1)]
    weights = {name: _weights_apart(then.path / name, now.path / name) for name in names}
    splits = [split for split in ("validation", "test") if then.has_store(split)]
    stores = {f"probabilities/{split}": _store_apart(then.store(split), now.store(split), progress) for split in splits}
    confusions = np.array_equal(then.confusions(), now.confusions())
    return Reproduction(
        name=then.name,
        path=now.path,
        files=(
            *(name for name, apart in weights.items() if apart),
            *(name for name, apart in stores.items() if apart is not None),
            *(() if confusions else (CONFUSIONS,)),
        ),
        weights=max(weights.values()),
        pixels=stores["probabilities/validation"] or 0.0,
        scores=_scores(then, now),
        epoch=_first_epoch_apart(then, now),
        environment=differences(then.environment, now.environment),
    )


def _weights_apart(then: Path, now: Path) -> float:
    """Return the maximum over tensors of max |a - b| / max |a|; infinite if shapes differ or only a is all zeros."""
    with guard(then, "weights", "train the member again"):
        old, new = load_file(then), load_file(now)
    if {name: a.shape for name, a in old.items()} != {name: b.shape for name, b in new.items()}:
        return np.inf
    largest = 0.0
    for name, a in old.items():
        apart = float(np.abs(a.astype(np.float64) - new[name].astype(np.float64)).max(initial=0))
        scale = float(np.abs(a).max(initial=0))
        largest = max(largest, apart / scale if scale else (np.inf if apart else 0.0))
    return largest


def _store_apart(then: Store, now: Store, progress: Progress) -> float | None:
    """Return the share of the (labelled) pixels whose class differs, or None if the stores are equal."""
    if [chunk.digest for chunk in then.chunks] == [chunk.digest for chunk in now.chunks]:
        return None
    equal, apart, counted, readers = True, 0, 0, (then.reader(), now.reader())
    for part in parts_of(then.sizes, range(then.n), pixels=COMPARED // len(then.classes), most=64):
        (old, labels), (new, _) = (reader.read(part) for reader in readers)
        # Another version of the compressor writes other bytes for equal numbers.
        equal = equal and np.array_equal(old, new)
        known = np.ones_like(old[:, 0], bool) if labels is None else labels != VOID
        apart += int((old.argmax(1) != new.argmax(1))[known].sum())
        counted += int(known.sum())
        progress(f"comparing {then.split} images", part.images[-1] + 1, then.n)
    return None if equal else apart / counted


def _scores(then: Member, now: Member) -> dict[str, tuple[float | None, float | None]]:
    old, new = ({name: one.scores.get(name) for name in SCORES} for one in (then, now))
    old |= {f"iou {name}": value for name, value in then.scores["iou"].items()}
    new |= {f"iou {name}": value for name, value in now.scores["iou"].items()}
    return {name: (value, new.get(name)) for name, value in old.items()}


def _first_epoch_apart(then: Member, now: Member) -> tuple[int, int] | None:
    """Return the first (fold, epoch), both counted from 1, whose training loss differs, or None."""
    old, new = _history(then), _history(now)
    return next((at for at, loss in old.items() if new.get(at) != loss), None)


def _history(member: Member) -> dict[tuple[int, int], float]:
    with guard(member.path / HISTORY, "CSV", "train it again"), (member.path / HISTORY).open(newline="") as stream:
        return {(int(row["fold"]) + 1, int(row["epoch"])): float(row["train_loss"]) for row in csv.DictReader(stream)}
