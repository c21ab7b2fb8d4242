"""The labelled images of the data that a model was trained on: those it did not see, to measure a graph with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.data_kinds import is_there
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.data import Dataset, open_dataset
from ensemble.data.groups import image_groups
from ensemble.inference.model_view import class_channels
from ensemble.inference.predictor import Predictor

SIDE = 1024  # pixels of a side of the part of a large image that is looked at


@dataclass(frozen=True, eq=False)
class OwnImages:
    """Labelled images of the data of a model.

    Attributes:
        dataset: the data.
        span: raw pixel values that are 0 and 1 in the data.
        held_out: rows of images that no network of the model was trained on; of members with folds all rows, each of
            which some of their networks did not see.
        trained: rows of the other images, without those set aside before training; of members with folds all rows.
        seen: whether networks of the model have seen the images of ``held_out``.
        channel_of: table from labels of the data to classes of the model.
        groups: group of each row.
    """

    dataset: Dataset
    span: tuple[float, float]
    held_out: Sequence[int]
    trained: Sequence[int]
    seen: bool
    channel_of: NDArray[np.uint8]
    groups: Sequence[str]

    def image(self, row: int) -> NDArray[np.float32]:
        """Return the upper left part of an image (h, w, bands) as float32, in the units of the file."""
        unit: Any = self.dataset.image(row)[:SIDE, :SIDE]
        low, high = self.span
        if unit.dtype == np.uint8:
            return unit.astype(np.float32)
        return unit.astype(np.float32) * np.float32(high - low) + np.float32(low)

    def label(self, row: int) -> NDArray[np.uint8]:
        """Return the classes (h, w) of the same part, void 255."""
        return self.channel_of[self.dataset.label(row)[:SIDE, :SIDE]]


def open_own_images(predictor: Predictor, data: str | None, progress: Progress = no_progress) -> OwnImages:
    """Return the images of the data that a model was trained on.

    Args:
        predictor: the model.
        data: where the data are, if they moved.
        progress: callback that receives the progress.

    Raises:
        EnsError: they are not there any more, or have changed.
    """
    first = predictor.members[0]
    source = first.settings.data.source if data is None else data
    if not is_there(source):
        raise EnsError(
            f"expected the data of {predictor.name} at {source}, to compare the graph with the networks on their"
            " images; pass the new location as data"
        )
    dataset = open_dataset(first.settings.data.model_copy(update={"source": source}), progress)
    if dataset.data_hash != first.facts.data_hash:
        raise EnsError(
            f"{predictor.name} was trained on other data than {dataset.name} (the content differs); pass the"
            " original data"
        )
    held_out, trained, seen = _rows(predictor, dataset)
    groups = image_groups(dataset, progress)
    channel_of = class_channels(predictor, dataset)
    return OwnImages(dataset, predictor.facts.span, held_out, trained, seen, channel_of, groups)


def _rows(predictor: Predictor, dataset: Dataset) -> tuple[list[int], list[int], bool]:
    row_of = {name: row for row, name in enumerate(dataset.ids)}
    aside = {name for member in predictor.members for name in member.settings.data.vault}
    held, seen = {name for name in row_of if name not in aside}, False
    for member in predictor.members:
        held &= set(member.store().ids)
        seen |= bool(member.settings.data.folds)
    held_out = sorted(row_of[name] for name in held)
    if not held_out:
        raise EnsError(f"the members of {predictor.name} share no validation image; export a member")
    if seen:
        return held_out, held_out, True
    return held_out, [row for name, row in row_of.items() if name not in held | aside], False
