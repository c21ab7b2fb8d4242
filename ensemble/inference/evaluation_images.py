"""Choose the images that a model is evaluated on, so that none of them was in its training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.formatting import counted
from ensemble.core.progress import Progress, no_progress
from ensemble.data import Dataset, open_dataset
from ensemble.data.groups import groups_of_tests, image_groups
from ensemble.inference.bands import check_bands
from ensemble.inference.model_view import class_channels, model_image
from ensemble.inference.predictor import Predictor
from ensemble.inference.training_copies import pixel_digest, training_pixels
from ensemble.runs.evaluation_dir import EvaluatedPart

PARTS = ("test", "val", "vault", "all")
Row = tuple[bool, int]  # whether it is a test image, and its number there


@dataclass(frozen=True)
class EvaluationImages:
    """Labelled images that a model was not trained on.

    Attributes:
        dataset: the data.
        part: ``validation`` for the images held out of the training of the model, ``vault`` for those set aside before
            it, else ``test``.
        rows: the images.
        ids: name of each image.
        groups: group of each image.
        sizes: height and width of each image.
        image: function from the number of an image to its pixels (h, w, bands), as the model takes them.
        label: function from the number of an image to its labels (h, w): channels of the model, void 255.
        notes: sentences about images that are left out, and about what the scores do not show.
    """

    dataset: Dataset
    part: EvaluatedPart
    rows: tuple[Row, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    image: Callable[[int], NDArray[Any]]
    label: Callable[[int], NDArray[np.uint8]]
    notes: tuple[str, ...]


def choose_images(
    predictor: Predictor, data: str, part: str | None, progress: Progress = no_progress
) -> EvaluationImages:
    """Return the images of a part that the model was not trained on.

    Args:
        predictor: the member or ensemble.
        data: labelled data.
        part: one of `PARTS`; None for the first one that fits, see `ensemble.inference.evaluate.evaluate`.
        progress: callback that receives the progress.

    Raises:
        EnsError: the data do not fit the model, or the part holds no image that it was not trained on.
    """
    if part is not None and part not in PARTS:
        raise UnknownName("part", part, PARTS)
    settings = DataSettings(source=data, background=predictor.facts.background)
    dataset = open_dataset(settings, progress)
    own = _is_own(predictor, dataset)
    part = part or ("test" if dataset.has_test_labels else "val" if own else "all")
    rows, notes = _rows(predictor, dataset, part, own=own)
    if not (own and part == "val"):
        rows, more = _without_copies(predictor, dataset, rows, own=own, progress=progress)
        notes += more
    table = class_channels(predictor, dataset)
    check_bands(dataset.bands, predictor.facts.bands, dataset.name, predictor.name)
    return EvaluationImages(
        dataset,
        "vault" if part == "vault" else "validation" if own and part == "val" else "test",
        tuple(rows),
        tuple(_name(dataset, row) for row in rows),
        _groups(dataset, rows, progress),
        tuple(_size(dataset, row) for row in rows),
        lambda number: model_image(predictor, dataset, _image(dataset, rows[number])),
        lambda number: table[_label(dataset, rows[number])],
        (*dataset.notes, *notes),
    )


def _is_own(predictor: Predictor, dataset: Dataset) -> bool:
    """Return whether a member was trained on these data."""
    return any(dataset.data_hash == member.facts.data_hash for member in predictor.members)


def _rows(predictor: Predictor, dataset: Dataset, part: str, *, own: bool) -> tuple[list[Row], tuple[str, ...]]:
    """Return the rows of a part, and notes on them."""
    tests: list[Row] = [(True, row) for row in range(len(dataset.test_ids))] if dataset.has_test_labels else []
    if part == "test":
        if tests:
            return tests, _seen(predictor) if own else ()
        raise EnsError(
            f"{dataset.name} has no labelled test images; choose the part {'val' if own else 'all'}, or describe where"
            " the masks of the test images are"
        )
    if part == "val":
        return _held_out(predictor, dataset) if own else (_official(dataset), ())
    if part == "vault":
        return _vault(predictor, dataset), ()
    if own:
        raise EnsError(
            f"{predictor.name} was trained on images of {dataset.name}, so it cannot be scored on all of them; choose"
            " the part val or test"
        )
    closed = set(dataset.part_rows("vault") or ())
    return [(False, row) for row in range(len(dataset.ids)) if row not in closed] + tests, ()


def _seen(predictor: Predictor) -> tuple[str, ...]:
    """Return a note if a member has seen the test images."""
    taught = [member.settings.taught for member in predictor.members]
    if not any(one is not None and one.saw_test for one in taught):
        return ()
    return ("a member learned from these images, without their labels, so the score says less about new images",)


def _held_out(predictor: Predictor, dataset: Dataset) -> tuple[list[Row], tuple[str, ...]]:
    """Return the images that no member was trained on."""
    held = set(dataset.ids)
    for member in predictor.members:
        if member.settings.refit_of:
            raise EnsError(
                f"{member.name} was trained on every labelled image of {dataset.name}; evaluate its twin"
                f" {member.settings.refit_of}, or a test part"
            )
        if member.settings.data.folds:
            raise EnsError(
                f"the {member.settings.data.folds} networks of {member.name} have together seen every image of"
                f" {dataset.name}; `ens results` has its out-of-fold scores, and a test part can be evaluated"
            )
        held &= set(member.store().ids)
    notes = ("these are the validation images, which score it in `ens results` already; this is no other split",)
    if predictor.fitted:
        notes = ("it was fitted on these images, so its scores are in-sample; `ens results` has cross-fitted scores",)
    rows: list[Row] = [(False, row) for row, name in enumerate(dataset.ids) if name in held]
    if not rows:
        raise EnsError(f"the members of {predictor.name} share no held-out image; evaluate a test part")
    return rows, notes


def _vault(predictor: Predictor, dataset: Dataset) -> list[Row]:
    """Return the images that were set aside before every member was trained."""
    aside = [set(member.settings.data.vault) for member in predictor.members]
    wanted = set.intersection(*aside)
    rows: list[Row] = [(False, row) for row, name in enumerate(dataset.ids) if name in wanted]
    if not _is_own(predictor, dataset) or not rows:
        raise EnsError(
            f"no image of {dataset.name} was set aside before {predictor.name} was trained; write a split with a vault"
            " by `ens data split`, and train with it"
        )
    return rows


def _official(dataset: Dataset) -> list[Row]:
    rows = dataset.part_rows("val")
    if rows is None:
        raise EnsError(f"{dataset.name} has no validation part; choose the part all, or describe its split")
    return [(False, row) for row in rows]


def _without_copies(
    predictor: Predictor, dataset: Dataset, rows: list[Row], *, own: bool, progress: Progress
) -> tuple[list[Row], tuple[str, ...]]:
    """Leave out images with the same pixels as one that a member was trained on, or that the ensemble was fitted on."""
    seen, scored, notes = training_pixels(predictor, dataset if own else None, progress)
    how = "trained or fitted" if predictor.fitted else "trained"
    if predictor.fitted:
        seen, scored = seen | scored, set[str]()
    digests = {row: pixel_digest(_image(dataset, row)) for row in rows} if seen | scored else {}
    copies = {row for row, found in digests.items() if found in seen}
    if again := sum(found in scored for found in digests.values()):
        notes += (
            f"validation images, which score {predictor.name} in `ens results` already, have copies in {dataset.name}:"
            f" {counted(again, 'image')}",
        )
    if not copies:
        return rows, notes
    names = [_name(dataset, row) for row in rows if row in copies]
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    if len(copies) == len(rows):
        raise EnsError(
            f"all {len(rows)} images of {dataset.name} are copies of images that {predictor.name} was {how} on"
            f" ({shown}); evaluate other images"
        )
    left_out = (
        f"left out, because {predictor.name} was {how} on copies of them: {counted(len(names), 'image')} ({shown})"
    )
    return [row for row in rows if row not in copies], (*notes, left_out)


def _groups(dataset: Dataset, rows: Sequence[Row], progress: Progress) -> tuple[str, ...]:
    """Return the group of each image: as given with the data, else near-duplicates share a group."""
    labelled = image_groups(dataset, progress) if any(not test for test, _ in rows) else ()
    tests = [f"test {name}" for name in groups_of_tests(dataset, progress)] if any(test for test, _ in rows) else []
    return tuple(tests[row] if test else labelled[row] for test, row in rows)


def _image(dataset: Dataset, row: Row) -> NDArray[Any]:
    return dataset.test_image(row[1]) if row[0] else dataset.image(row[1])


def _label(dataset: Dataset, row: Row) -> NDArray[np.uint8]:
    return dataset.test_label(row[1]) if row[0] else dataset.label(row[1])


def _size(dataset: Dataset, row: Row) -> tuple[int, int]:
    return dataset.test_sizes[row[1]] if row[0] else dataset.sizes[row[1]]


def _name(dataset: Dataset, row: Row) -> str:
    return dataset.test_ids[row[1]] if row[0] else dataset.ids[row[1]]
