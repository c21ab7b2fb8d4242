"""Find the images of other data that have the same pixels as an image that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.progress import Progress, no_progress
from ensemble.data import Dataset, open_dataset
from ensemble.inference.image_rows import BLOCK
from ensemble.inference.predictor import Predictor
from ensemble.runs.member import Member
from ensemble.runs.run_files import bundle_of


def training_pixels(
    predictor: Predictor, own: Dataset | None, progress: Progress = no_progress
) -> tuple[set[str], set[str], tuple[str, ...]]:
    """Return the digests of all images that a member was trained on, and those of the images held out to score it.

    The third value are notes on training data that have changed.

    Args:
        predictor: the member or ensemble.
        own: its training data, if they are open.
        progress: callback that receives the progress.
    """
    opened, notes = training_data(predictor.members, own, progress)
    seen, scored = set[str](), set[str]()
    for member, trained in opened:
        aside, held = set(member.settings.data.vault), set[str]()
        holds_out = not member.settings.data.folds and not member.settings.refit_of
        if holds_out and bundle_of(member.path) is None:
            held = set(member.store().ids)
        elif holds_out:
            notes += ("a bundle does not say which images were held out, so copies of these are left out, too",)
        rows = [row for row, name in enumerate(trained.ids) if name not in aside | held]
        seen |= pixel_digests(trained, rows, progress)
        scored |= pixel_digests(trained, [row for row, name in enumerate(trained.ids) if name in held], progress)
    return seen, scored - seen, notes


def training_data(
    members: Iterable[Member], own: Dataset | None = None, progress: Progress = no_progress
) -> tuple[list[tuple[Member, Dataset]], tuple[str, ...]]:
    """Return the data that members were trained on, each with one of its members, and notes on data that have changed.

    Args:
        members: the members.
        own: their training data, if they are open.
        progress: callback that receives the progress.
    """
    opened, notes = list[tuple[Member, Dataset]](), tuple[str, ...]()
    for member in {member.facts.data_hash: member for member in members}.values():
        settings = member.settings.data
        trained = own or _opened(settings, member.facts.data_hash, progress)
        if trained is not None:
            opened.append((member, trained))
            continue
        note = f"the training data {settings.source} are not as they were, so copies of their images are not found"
        notes += (note,)
    return opened, notes


def _opened(settings: DataSettings, data_hash: str, progress: Progress) -> Dataset | None:
    """Return the training data if they are still there, unchanged."""
    try:
        found = open_dataset(settings, progress)
    except EnsError:
        return None
    return found if found.data_hash == data_hash else None


def pixel_digests(dataset: Dataset, rows: Sequence[int], progress: Progress = no_progress) -> set[str]:
    """Return the digests of the pixels of some labelled images."""
    seen = set[str]()
    for count, row in enumerate(rows, 1):
        seen.add(pixel_digest(dataset.image(row)))
        progress("looking for copies of labelled images", count, len(rows))
    return seen


def pixel_digest(image: NDArray[Any]) -> str:
    """Return the digest of the pixels of an image, however its file is compressed."""
    return digest_of_rows(image[first : first + BLOCK] for first in range(0, len(image), BLOCK))


def digest_of_rows(blocks: Iterable[NDArray[Any]]) -> str:
    """Return what `pixel_digest` returns, of an image that comes in blocks of ``BLOCK`` rows."""
    found = ""
    for block in blocks:
        found = digest(found, str(block.shape), block.dtype.str, np.ascontiguousarray(block).data)
    return found
