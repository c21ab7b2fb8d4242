"""Write the description of a data set from what is found there, with comments about what a person should check."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataSettings
from ensemble.core.arrays import npz_entries
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.core.formatting import counted
from ensemble.core.progress import Progress, no_progress
from ensemble.core.reading import is_file
from ensemble.core.threads import in_threads
from ensemble.core.void import VOID
from ensemble.data.dataset import Dataset
from ensemble.data.description import Description
from ensemble.data.open_source import understand
from ensemble.data.opening import open_dataset

ALIKE = 0.08  # largest difference between the class shares of two halves that may be flipped or turned
LOOKED_AT = 200  # masks
SIDES = ("top", "bottom", "left", "right")
_FRAME = re.compile(r"^(.+?)[_\- ]?(?:frame|f|t)?[_\-]?\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Described:
    """A description as TOML, and what a person should know about it.

    Attributes:
        toml: the text, which `ens train` reads from a file.
        format: name of the format that was recognised.
        notes: what was concluded and left out.
        doubts: what a person must decide before the data can be used.
    """

    toml: str
    format: str
    notes: tuple[str, ...]
    doubts: tuple[str, ...]


def describe(path: str | Path, out: str | Path | None = None, progress: Progress = no_progress) -> Described:
    """Return the description of a folder or npz file, and write it to ``out`` if that is given.

    Args:
        path: the data.
        out: a file that ends in .toml.
        progress: callback that receives the progress.

    Raises:
        EnsError: the data are of no known format, cannot be read, or ``out`` cannot be written or exists.
    """
    source = Path(path).expanduser()
    place = None if out is None else Path(out).expanduser()
    if place is not None and (place.suffix.lower() != ".toml" or place.exists()):
        raise EnsError(f"expected a new file that ends in .toml as out, got {place}; choose another name")
    _check_source(source)
    understood = understand(source)
    completed, dataset = understood.completed, None
    description, comments = completed.description, [f"{source.name or source}: {understood.format}"]
    if not completed.doubts:
        dataset = open_dataset(DataSettings(source=str(source)), progress)
        description = _with_classes(description, dataset)
        comments += [_counts(dataset), _sizes(dataset), *dataset.notes]
        comments += [_class_line(dataset, k) for k in range(len(dataset.classes))]
        comments += _proposals(description, dataset)
    comments += [f"CHECK: {doubt}" for doubt in completed.doubts]
    root = understood.root if place is None else Path(os.path.relpath(understood.root, place.parent))
    toml = description.model_copy(update={"root": root.as_posix()}).to_toml(comments)
    if place is not None:
        write_bytes(place, toml.encode())
    notes = dataset.notes if dataset else completed.notes
    return Described(toml, understood.format, notes, completed.doubts)


def _check_source(source: Path) -> None:
    """Raise an error for data that need no description."""
    if source.suffix.lower() == ".toml":
        raise EnsError(f"{source} is a description or another TOML file; give the folder or npz file to describe")
    if str(source) == "sample" and not source.exists():
        raise EnsError("the sample needs no description; give a folder or an npz file")
    if is_file(source) and "training_set" in npz_entries(source):
        raise EnsError(f"{source} has the key training_set, so it needs no description; train on it as it is")


def _with_classes(description: Description, dataset: Dataset) -> Description:
    """Return the description with the classes written down, also where the ids are plain numbers."""
    if description.classes is not None:
        return description
    names = {name: (value,) for value, name in dataset.names.items()}
    held = bool(dataset.counts_ni[:, VOID].any())
    return description.model_copy(update={"classes": names, "void": (VOID,) if held else (), "names": None})


def _counts(dataset: Dataset) -> str:
    parts = Counter(dataset.parts or ())
    detail = f" ({', '.join(f'{number} {part}' for part, number in sorted(parts.items()))})" if parts else ""
    test = f", {counted(len(dataset.test_ids), 'test image')}{' with masks' * dataset.has_test_labels}"
    return f"{counted(len(dataset.ids), 'labelled image')}{detail}{test}"


def _sizes(dataset: Dataset) -> str:
    return f"sizes: {size_text(dataset.sizes)}; {dataset.bands} band(s)"


def size_text(sizes: Sequence[tuple[int, int]]) -> str:
    """Return the sizes of images as text: one, or the smallest, median and largest by area.

    >>> size_text([(4, 6), (4, 6)]), size_text([(2, 2), (9, 9), (4, 6)])
    ('4x6', '2x2 to 9x9, median 4x6 (3 different)')
    """
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    low, middle, high = (f"{h}x{w}" for h, w in (ordered[0], ordered[len(ordered) // 2], ordered[-1]))
    different = len(set(sizes))
    return low if different == 1 else f"{low} to {high}, median {middle} ({different} different)"


def _class_line(dataset: Dataset, k: int) -> str:
    counts = dataset.counts_nk
    share = 100 * counts[:, k].sum() / max(1, counts.sum())
    return f"{dataset.classes[k]}: {share:.2f} % of the pixels, in {(counts[:, k] > 0).sum()} of {len(counts)} masks"


def _proposals(description: Description, dataset: Dataset) -> list[str]:
    """Return lines that a person may want to use: groups of frames, and augmentations that the data allow."""
    lines: list[str] = []
    # The names of parts are added to ids that several parts have; they are no scenes.
    parts = dataset.parts or ("",) * len(dataset.ids)
    names = [name.removeprefix(f"{part}-") for name, part in zip(dataset.ids, parts, strict=True)]
    pattern = frame_pattern(names) if description.groups is None and description.group_pattern is None else None
    if pattern is not None:
        text, number = pattern
        lines.append(
            f"names look like frames of {number} scenes; if neighbours are alike, add: group_pattern = '{text}'"
        )
    upright, turned = _differences(dataset)
    if turned < ALIKE:
        lines.append("no side of the images is special: --augment 'flips + rotate90' may help")
    elif upright < ALIKE:
        lines.append("top and bottom hold the same classes: --augment flips may help")
    else:
        lines.append("top and bottom differ: keep images upright (--augment hflip)")
    return lines


def frame_pattern(ids: Sequence[str]) -> tuple[str, int] | None:
    """Return a regular expression for the scene in names such as ``scene1_0007``, and the number of scenes.

    It is None unless all names end in a number and there are at least two scenes of two images on average.
    """
    scenes = {match[1] if (match := _FRAME.match(name)) else "" for name in ids}
    if "" in scenes or not 2 <= len(scenes) <= len(ids) // 2:
        return None
    return _FRAME.pattern, len(scenes)


def _differences(dataset: Dataset) -> tuple[float, float]:
    """Return how the class shares of top and bottom differ, and the largest difference of top, bottom, left and right.

    A difference is half the sum of the absolute differences of the shares (total variation, 0 to 1).
    """
    step = max(1, len(dataset.ids) // LOOKED_AT)

    def halves(row: int) -> Mapping[str, NDArray[np.int64]]:
        labels = dataset.label(row)
        height, width = labels.shape[0] // 2, labels.shape[1] // 2
        parts = {
            "top": labels[:height],
            "bottom": labels[-height:],
            "left": labels[:, :width],
            "right": labels[:, -width:],
        }
        return {name: np.bincount(part[part != VOID], minlength=256) for name, part in parts.items()}

    found = in_threads(halves, range(0, len(dataset.ids), step))
    share = {}
    for name in SIDES:
        total = np.sum([each[name] for each in found], axis=0)
        share[name] = total / max(1, total.sum())

    def apart(one: str, other: str) -> float:
        return float(np.abs(share[one] - share[other]).sum() / 2)

    upright = apart("top", "bottom")
    return upright, max(upright, apart("left", "right"), apart("top", "left"))
