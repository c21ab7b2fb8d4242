"""Plan an import: open the predictions, line up their images with the split, and find every mistake before writing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ensemble.config import Component, DataFacts, DataSettings, MemberSettings, slug
from ensemble.core.errors import EnsError
from ensemble.core.files import digest, file_digest
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import IMPORTED
from ensemble.data import Dataset, open_dataset, split_dataset
from ensemble.data.groups import image_groups
from ensemble.importing.conversion import Conversion, choose_conversion
from ensemble.importing.image_ids import image_ids, positions
from ensemble.importing.readers import Predictions, open_predictions
from ensemble.runs.folder import find_members
from ensemble.runs.layout import members_folder
from ensemble.runs.member import Member
from ensemble.runs.select import open_members

UNKNOWN = "unknown"
NETWORK_FILES = (".pth", ".pt", ".safetensors")  # files of weights, which `import_network` reads


@dataclass(frozen=True)
class Target:
    """The images that need a prediction, in the order of the store, and the split that they come from.

    Attributes:
        data: settings of the data and of the split.
        dataset: the opened data.
        split_hash: hash of the split.
        ids: ids of the validation images.
        groups: group of each of these images.
        like: name of the member whose split this is; None for a new split.
    """

    data: DataSettings
    dataset: Dataset
    split_hash: str
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    like: str | None


@dataclass(frozen=True)
class Source:
    """Predictions of one split as the user names and describes them.

    Attributes:
        path: the file or folder.
        table: CSV with the image of each prediction; None if the predictions name their images.
        channels: ``scored`` or ``all``; None to conclude it from the number of channels.
        logits: whether the numbers are logits.
    """

    path: Path
    table: Path | None = None
    channels: str | None = None
    logits: bool = False


@dataclass(frozen=True)
class LinedUp:
    """Predictions of one split, lined up with the images that need one.

    Attributes:
        predictions: the opened predictions.
        conversion: how their numbers become probabilities.
        order: number of the prediction of each image.
        ignored: number of predictions of other images.
        digest: digest of the files and of how they are read: all that decides the probabilities.
    """

    predictions: Predictions
    conversion: Conversion
    order: tuple[int, ...]
    ignored: int
    digest: str = ""


@dataclass(frozen=True)
class ImportPlan:
    """A member that can be imported: predictions opened, images lined up, directory named."""

    settings: MemberSettings
    facts: DataFacts
    target: Target
    validation: LinedUp
    test: LinedUp | None
    digest: str
    path: Path


def plan_import(
    name: str, target: Target, validation: Source, test: Source | None, *, arch: str, loss: str, runs: Path
) -> ImportPlan:
    """Check the predictions against the target and return the plan of the member; write nothing.

    Args:
        name: name of the member.
        target: images that need a prediction.
        validation: predictions of these images.
        test: predictions of the test images; None to import none.
        arch: architecture for the results table.
        loss: loss for the results table.
        runs: folder of the runs.

    Raises:
        EnsError: predictions that cannot be read or do not fit the data.
    """
    lined_up = line_up(validation, target.dataset, target.ids, "validation")
    lined_up_test = None if test is None else line_up(test, target.dataset, target.dataset.test_ids, "test")
    digests = [part.digest for part in (lined_up, lined_up_test) if part is not None]
    facts = target.dataset.facts(target.split_hash)
    settings = MemberSettings(
        data=target.data,
        architecture=Component(name=arch, origin=IMPORTED),
        loss=Component(name=loss, origin=IMPORTED),
        augmentation=UNKNOWN,
        sampler=UNKNOWN,
    )
    short = settings.content_hash(facts.data_hash + facts.split_hash, *digests)[:6]
    path = members_folder(runs) / f"{slug(name)}-{short}"
    return ImportPlan(settings, facts, target, lined_up, lined_up_test, digest(*digests), path)


def choose_target(data: DataSettings | str, like: str | None, runs: Path, progress: Progress = no_progress) -> Target:
    """Return the split to import for: that of the settings, else that of ``like``, else that of the newest member.

    Raises:
        EnsError: both settings and ``like``, an unknown member or one of other data, or data that cannot be read.
    """
    if isinstance(data, DataSettings):
        if like is not None:
            raise EnsError(f"expected either settings of the split or like {like}, got both; drop one of them")
        return _new_split(data, open_dataset(data, progress), progress)
    if like is not None:
        member = open_members(runs, [like])[0]
        if not _knows_its_split(member):
            raise EnsError(
                f"{member.name} has one network for the images of all folds, so it does not say which fold an image is"
                " in; give another member as like, or the folds"
            )
        settings = member.settings.data.model_copy(update={"source": data})
        return _split_of(member, open_dataset(settings, progress), data)
    dataset = open_dataset(DataSettings(source=data), progress)
    members = [Member.open(path) for path in find_members(runs)]
    members = [member for member in members if member.facts.data_hash == dataset.data_hash and _knows_its_split(member)]
    if not members:
        return _new_split(DataSettings(source=data), dataset, progress)
    background = members[-1].facts.background
    if background != dataset.background:
        dataset = open_dataset(DataSettings(source=data, background=background), progress)
    return _split_of(members[-1], dataset, data)


def _knows_its_split(member: Member) -> bool:
    """Return whether the settings of a member give its split; one network for all folds, such as a refit, has none."""
    return bool(member.settings.data.folds) or not str(member.scores.get("protocol")).startswith("out-of-fold")


def _split_of(member: Member, dataset: Dataset, source: str) -> Target:
    if member.facts.data_hash != dataset.data_hash:
        raise EnsError(
            f"{member.name} was trained on other data than {dataset.name} (the content differs); pass the data of this"
            " member as data, or a member of these data as like"
        )
    store = member.store()
    settings = member.settings.data.model_copy(update={"source": source})
    return Target(settings, dataset, store.split_hash, tuple(store.ids), tuple(store.groups), member.name)


def _new_split(data: DataSettings, dataset: Dataset, progress: Progress) -> Target:
    groups = image_groups(dataset, progress)
    split = split_dataset(dataset, groups, data)
    if len(split.validation) > 1:
        data = data.model_copy(update={"folds": len(split.validation)})
    rows = [int(row) for part in split.validation for row in part]
    vault = tuple(dataset.ids[row] for row in split.vault)
    settings = data.model_copy(update={"background": dataset.background, "vault": vault})
    ids, owners = tuple(dataset.ids[row] for row in rows), tuple(groups[row] for row in rows)
    return Target(settings, dataset, split.split_hash, ids, owners, None)


def line_up(source: Source, dataset: Dataset, wanted: tuple[str, ...], split: str) -> LinedUp:
    """Open predictions and find the one of every wanted image.

    Args:
        source: the predictions.
        dataset: the data.
        wanted: ids of the images that need a prediction.
        split: ``validation`` or ``test``.

    Raises:
        EnsError: no wanted images, predictions that cannot be read, or images without a prediction.
    """
    if not wanted:
        raise EnsError(f"{dataset.name} has no {split} images, so {source.path} cannot be imported; drop {split}")
    predictions = open_predictions(source.path, logits=source.logits)
    conversion = choose_conversion(predictions, dataset, logits=source.logits, channels=source.channels)
    ids = image_ids(predictions, source.table, dataset.test_ids if split == "test" else dataset.ids)
    order = positions(ids, wanted, source.path, split)
    names = "" if source.table is None else file_digest(source.table)
    content = digest(predictions.digest(), conversion.kind, conversion.channels, names)
    return LinedUp(predictions, conversion, tuple(order), len(ids) - len(order), content)
