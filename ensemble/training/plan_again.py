"""Recover the plan of a finished member: open its data, repeat its split, and check that its sources are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ensemble.config import DataSettings
from ensemble.core.data_kinds import is_there
from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import IMPORTED
from ensemble.data import Dataset, Split, open_dataset, split_dataset
from ensemble.data.groups import image_groups
from ensemble.inference.hardware import Hardware, choose_hardware
from ensemble.inference.network import check_origin
from ensemble.runs.member import Member
from ensemble.training.components import loss_origin
from ensemble.training.plan import Plan, rows_of


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
    if not is_there(source):
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
    _check_trained_here(member)
    try:
        choose_hardware(settings.device, settings.precision)
    except EnsError:
        raise EnsError(
            f"{member.name} was trained on {settings.device}, which torch does not find here; use a machine that has it"
        ) from None
    check_origin(settings.architecture, member.name)
    here = loss_origin(settings.loss.name)
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


def _check_trained_here(member: Member) -> None:
    """Refuse a member that was imported, and a student."""
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
