"""Find out what the values of masks are: ids, colours or transparency, and which of them occur."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.formatting import counted
from ensemble.core.threads import in_threads
from ensemble.core.void import VOID
from ensemble.data.description import Coding, Description
from ensemble.data.formats.coding import number_of, read_values, text_of
from ensemble.data.formats.image_files import read_mask_pixels
from ensemble.data.formats.label_names import LabelNames, find_label_names
from ensemble.data.formats.part_samples import Sample

HALF = 128  # a mask with larger ids may be a picture in grey, in which 255 is a class
MOST_CLASSES = 64  # more values than this are no classes, unless a file names them


@dataclass(frozen=True)
class Survey:
    """The values of masks.

    Attributes:
        coding: what the pixels are.
        masks: number of masks that were read.
        holders: number of masks that hold each value.
        pixels: number of pixels of each value.
        first: an image that holds each value.
    """

    coding: Coding
    masks: int
    holders: Mapping[int, int]
    pixels: Mapping[int, int]
    first: Mapping[int, str]

    @property
    def values(self) -> list[int]:
        """The values in ascending order."""
        return sorted(self.holders)


@dataclass(frozen=True)
class Completed:
    """A description with classes, and what is to be said about how they were found.

    Attributes:
        description: the description; ``classes`` stays None if the ids are 0, 1, 2 ... as they are.
        notes: sentences about what was concluded.
        doubts: sentences about what a person must decide; with one of them, nothing is trained.
    """

    description: Description
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    names: LabelNames = field(default_factory=LabelNames)


def survey_masks(description: Description, samples: Sequence[Sample]) -> Survey:
    """Return the values of the masks of samples, which are read in full.

    Raises:
        EnsError: a mask cannot be read, or has pixels of another kind than the first one.
    """
    coding = description.coding if description.coding != "ids" else _coding_of(samples)
    described = description.model_copy(update={"coding": coding})
    counted = in_threads(lambda sample: _count(read_values(sample.masks, described)), samples)
    return _survey(coding, [sample.id for sample in samples], counted)


def survey_values(coding: Coding, masks: Mapping[str, NDArray[Any]]) -> Survey:
    """Return the values of masks (h, w) in memory, by the names of their images."""
    return _survey(coding, list(masks), in_threads(_count, masks.values()))


def _count(values: NDArray[Any]) -> tuple[list[int], list[int]]:
    found, counts = np.unique(values, return_counts=True)
    return found.tolist(), counts.tolist()


def _survey(coding: Coding, ids: Sequence[str], counted: Sequence[tuple[list[int], list[int]]]) -> Survey:
    holders: dict[int, int] = {}
    pixels: dict[int, int] = {}
    first: dict[int, str] = {}
    for name, (values, counts) in zip(ids, counted, strict=True):
        for value, number in zip(values, counts, strict=True):
            holders[value] = holders.get(value, 0) + 1
            pixels[value] = pixels.get(value, 0) + number
            first.setdefault(value, name)
    return Survey(coding, len(ids), holders, pixels, first)


def _coding_of(samples: Sequence[Sample]) -> Coding:
    """Return what the pixels of masks are: the first one that is no grey image or palette decides."""
    for sample in samples:
        pixels = read_mask_pixels(sample.masks[0], alpha=True)
        if pixels.ndim == 2:
            continue
        alpha = pixels[..., -1] if pixels.shape[2] in (2, 4) else None
        colours = pixels if alpha is None else pixels[..., :-1]
        if alpha is not None and not (alpha == alpha[0, 0]).all() and (colours == colours[0, 0]).all():
            return "alpha"
        if not (colours[..., :1] == colours).all():
            return "colours"
    return "ids"


def complete(description: Description, root: Path, samples: Sequence[Sample]) -> Completed:
    """Return the description with classes from the values that masks hold, and from files that name them.

    Raises:
        EnsError: a mask cannot be read.
    """
    if description.classes is not None:
        return Completed(description)
    survey = survey_masks(description, samples)
    return conclude(description, survey, find_label_names(root, survey.coding))


def conclude(description: Description, survey: Survey, names: LabelNames) -> Completed:
    """Return a description with classes from the values that masks hold.

    Args:
        description: a description without classes.
        survey: the values of its masks.
        names: what a file says about these values.
    """
    if survey.coding == "alpha":
        found = description.model_copy(
            update={"coding": "alpha", "classes": {"background": (0,), "object": (255,)}, "names": None}
        )
        return Completed(found, ("the transparency of the masks says what is the object",), names=names)
    if survey.coding == "colours":
        return _colours(description, survey, names)
    return _ids(description, survey, names)


def _ids(description: Description, survey: Survey, names: LabelNames) -> Completed:
    values = [value for value in survey.values if value != VOID]
    if values == [0] and VOID in survey.holders and (VOID,) not in names.values.values():
        first, second = names.values if len(names.values) == 2 else ("background", "foreground")
        classes = {first: (0,), second: (VOID,)}
        note = f"masks hold 0 and 255 only: 255 is read as the class {second}, not as void"
        found = description.model_copy(update={"classes": classes, "names": None})
        return Completed(found, (note,), names=names)
    if names.values and description.names is None:
        return _named(description, survey, names)
    plain = list(range(values[0], values[0] + len(values))) if values and values[0] <= 1 else []
    if values == plain or description.names is not None:
        return Completed(description, names=names)
    if blurred := _blurred(survey, values):
        low, high = (tuple(value for value in values if (value >= HALF) == above) for above in (False, True))
        classes = {"background": low, "foreground": (VOID, *high)}
        found = description.model_copy(update={"classes": classes, "void": ()})
        return Completed(found, (), (blurred,), names)
    classes = {f"class {value}": (value,) for value in values}
    void = (VOID,) if VOID in survey.holders else ()
    found = description.model_copy(update={"classes": classes, "void": void})
    shown = f"{', '.join(map(str, values[:8]))}{', ...' if len(values) > 8 else ''}"
    note = f"masks hold the ids {shown}, with gaps; each is a class of that number"
    doubts = _doubts(survey, values, "ids")
    if VOID in survey.holders and values[-1] >= HALF:
        doubts = (f"masks hold 255 and the ids {shown}, with gaps: 255 may be void, or a class", *doubts)
    return Completed(found, (note,), doubts, names)


def _blurred(survey: Survey, values: Sequence[int]) -> str:
    """Return a doubt if masks look like 0 and 255 with blurred edges, the background and a foreground; else nothing."""
    between, ends = [value for value in values if value], [survey.pixels.get(value, 0) for value in (0, VOID)]
    held = sum(survey.pixels[value] for value in between)
    if not all(ends) or len(between) < 2 or between[-1] < HALF:
        return ""
    if held >= min(ends) and len(between) < MOST_CLASSES // 2:
        return ""
    share = 100 * held / (held + sum(ends))
    return (
        f"masks hold 0, 255 and {len(between)} values between them at {share:.2g} % of the pixels, such as {between[0]}"
        f" (image {survey.first[between[0]]}), as if two classes, background and foreground, had blurred edges"
    )


def _colours(description: Description, survey: Survey, names: LabelNames) -> Completed:
    if names.values:
        return _named(description, survey, names)
    if len(survey.values) > MOST_CLASSES:
        return Completed(description, (), _doubts(survey, survey.values, "colours"), names)
    classes = {text_of(value, colour=True): (text_of(value, colour=True),) for value in survey.values}
    found = description.model_copy(update={"coding": "colours", "classes": classes})
    note = f"masks hold {len(classes)} colours; each is a class, named by its colour"
    return Completed(found, (note,), _doubts(survey, survey.values, "colours"), names)


def _named(description: Description, survey: Survey, names: LabelNames) -> Completed:
    """Return the classes of a file that names values; values that no mask holds are left out, void is no class."""
    colour = survey.coding == "colours"
    known = {name: tuple(v for v in values if number_of(v) in survey.holders) for name, values in names.values.items()}
    void = tuple(value for name, values in names.values.items() if names.is_void(name) for value in values)
    classes = {name: values for name, values in known.items() if values and not names.is_void(name)}
    absent = [name for name, values in known.items() if not values and not names.is_void(name)]
    given = {number_of(value) for values in names.values.values() for value in values}
    unnamed = [value for value in survey.values if value not in given and (colour or value != VOID)]
    if not colour and VOID in survey.holders and VOID not in given:
        void = (*void, VOID)
    notes = [f"{names.file} names the values of the masks"]
    if absent:
        notes.append(f"no mask holds {', '.join(absent[:4])}{', ...' if len(absent) > 4 else ''}: left out")
    doubts: list[str] = []
    if unnamed:
        shown = ", ".join(f"{text_of(value, colour)} (image {survey.first[value]})" for value in unnamed[:4])
        them = counted(len(unnamed), "value")
        doubts.append(f"masks hold {them} that {names.file} does not name, such as {shown}")
    if len(classes) < 2:
        doubts.append(f"masks hold {len(classes)} of the classes that {names.file} names; two are needed")
        return Completed(description, tuple(notes), tuple(doubts), names)
    found = description.model_copy(update={"coding": survey.coding, "classes": classes, "void": void, "names": None})
    return Completed(found, tuple(notes), tuple(doubts), names)


def _doubts(survey: Survey, values: Sequence[int], what: str) -> tuple[str, ...]:
    """Return why values may not be classes: there are too many, or some occur in one mask of many only."""
    if len(values) > MOST_CLASSES:
        advice = "; cut-outs need coding = 'alpha', background = 0 and object = 255" if what == "colours" else ""
        return (f"masks hold {len(values)} {what}, too many for classes{advice}",)
    colour = what == "colours"
    single = [value for value in values if survey.holders[value] == 1]
    if survey.masks < 4 or not single:
        return ()
    shown = ", ".join(f"{text_of(value, colour)} in {survey.first[value]}" for value in single[:4])
    return (f"{len(single)} of {len(values)} {what} occur in one mask only, such as {shown}: they may be no classes",)


def check_certain(completed: Completed, path: Path) -> None:
    """Raise an error if a person must decide something about the data at ``path``."""
    if completed.doubts:
        raise EnsError(
            f"{completed.doubts[0]}; write a description with `ens data describe {path} --out data.toml`, correct it,"
            " and give data.toml instead"
        )
