"""From predictions in files to a complete plan of the member they become, with every mistake in names found first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ensemble.config import Component, DataFacts, DataSettings, MemberSettings, slug
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import digest, file_digest
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import IMPORTED
from ensemble.data import Dataset, open_dataset, split_data
from ensemble.data.groups import image_groups
from ensemble.importing.conversion import Reading, choose_reading
from ensemble.importing.image_ids import image_ids, positions
from ensemble.importing.readers import Predictions, open_predictions
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member
from ensemble.runs.select import open_members

UNKNOWN = "unknown"
SPLITS = ("val", "validation")


@dataclass(frozen=True)
class Target:
    """The images that must be predicted, in the order of the store, and the split they come from."""

    data: DataSettings
    dataset: Dataset
    split_hash: str
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    like: str | None


@dataclass(frozen=True)
class Chosen:
    """Predictions of one split: how they are read, which image of the file comes when, how many are left out."""

    predictions: Predictions
    reading: Reading
    order: tuple[int, ...]
    ignored: int


@dataclass(frozen=True)
class _Told:
    """What the user says about the numbers, for validation and test alike."""

    logits: bool
    channels: str | None


@dataclass(frozen=True)
class ImportPlan:
    """A member that can be imported: predictions opened, images lined up, directory named."""

    settings: MemberSettings
    facts: DataFacts
    target: Target
    validation: Chosen
    test: Chosen | None
    digest: str
    path: Path


def plan_import(
    predictions: Path,
    name: str,
    data: DataSettings | str,
    *,
    like: str | None,
    split: str,
    ids: Path | None,
    test: Path | None,
    test_ids: Path | None,
    channels: str | None,
    logits: bool,
    arch: str,
    loss: str,
    runs: Path,
    progress: Progress = no_progress,
) -> ImportPlan:
    """Resolve and check what :func:`ensemble.importing.import_member` takes; writes nothing."""
    if not slug(name):
        raise EnsError(f"expected a name with letters or digits, got '{name}'; try --name nnunet")
    if split not in SPLITS:
        raise UnknownName("split to import (test predictions go with --test)", split, SPLITS)
    if test is None and test_ids is not None:
        raise EnsError("--test-ids goes with --test, the predictions of the test images; add it")
    told = _Told(logits, channels)
    target = choose_target(data, like, runs, progress)
    validation = _choose(predictions, ids, told, target.dataset, target.ids, "validation")
    parts = [_content(validation, ids)]
    chosen_test = None
    if test is not None:
        chosen_test = _choose(test, test_ids, told, target.dataset, target.dataset.test_ids, "test")
        parts.append(_content(chosen_test, test_ids))
    facts = target.dataset.facts(target.split_hash)
    settings = _settings(target.data, arch, loss)
    short = settings.content_hash(facts.data_hash + facts.split_hash, *parts)[:6]
    return ImportPlan(
        settings, facts, target, validation, chosen_test, digest(*parts), runs / "members" / f"{slug(name)}-{short}"
    )


def _settings(data: DataSettings, arch: str, loss: str) -> MemberSettings:
    """What is known of a member that was trained elsewhere."""
    return MemberSettings(
        data=data,
        architecture=Component(name=arch, origin=IMPORTED),
        loss=Component(name=loss, origin=IMPORTED),
        augmentation=UNKNOWN,
        sampler=UNKNOWN,
    )


def choose_target(data: DataSettings | str, like: str | None, runs: Path, progress: Progress = no_progress) -> Target:
    """The split to import for: the one that settings make, else that of ``like``, else that of the newest member.

    Raises:
        EnsError: settings and ``like`` together, a member that is none or of other data, or data that cannot be read.
    """
    if isinstance(data, DataSettings):
        if like is not None:
            raise EnsError(f"expected settings of the split or --like {like}, got both; drop one")
        return _split_anew(data, open_dataset(data), progress)
    if like is not None:
        member = open_members(runs, [like])[0]
        return _split_of(member, open_dataset(member.settings.data.model_copy(update={"source": data})), data)
    dataset = open_dataset(DataSettings(source=data))
    members = [Member.open(path) for path in find_members(runs)]
    members = [member for member in members if member.facts.data_hash == dataset.data_hash]
    if not members:
        return _split_anew(DataSettings(source=data), dataset, progress)
    background = members[-1].facts.background
    if background != dataset.background:
        dataset = open_dataset(DataSettings(source=data, background=background))
    return _split_of(members[-1], dataset, data)


def _split_of(member: Member, dataset: Dataset, source: str) -> Target:
    if member.facts.data_hash != dataset.data_hash:
        raise EnsError(
            f"{member.name} was trained on other data than {dataset.name} (the content differs); give the data it was"
            " trained on, or a --like of these"
        )
    store = member.store()
    settings = member.settings.data.model_copy(update={"source": source})
    return Target(settings, dataset, store.split_hash, tuple(store.ids), tuple(store.groups), member.name)


def _split_anew(data: DataSettings, dataset: Dataset, progress: Progress) -> Target:
    groups = image_groups(dataset, progress)
    split = split_data(dataset.ids, groups, dataset.foreground_nk, data)
    rows = [int(row) for part in split.validation for row in part]
    settings = data.model_copy(update={"background": dataset.background})
    ids, owners = tuple(dataset.ids[row] for row in rows), tuple(groups[row] for row in rows)
    return Target(settings, dataset, split.split_hash, ids, owners, None)


def _choose(
    path: Path, table: Path | None, told: _Told, dataset: Dataset, wanted: tuple[str, ...], what: str
) -> Chosen:
    if not wanted:
        raise EnsError(f"{dataset.name} has no {what} images that {path} could belong to; leave --{what} out")
    predictions = open_predictions(path, logits=told.logits)
    reading = choose_reading(predictions, dataset, logits=told.logits, channels=told.channels)
    ids = image_ids(predictions, table, dataset.test_ids if what == "test" else dataset.ids)
    order = positions(ids, wanted, path, what)
    return Chosen(predictions, reading, tuple(order), len(ids) - len(order))


def _content(chosen: Chosen, table: Path | None) -> str:
    """What decides the member's numbers: the files, and how they are read and lined up."""
    names = "" if table is None else file_digest(table)
    return digest(chosen.predictions.digest(), chosen.reading.kind, chosen.reading.channels, names)
