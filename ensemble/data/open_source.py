"""Open what a user passes as data: ``sample``, an npz file, a folder that is recognised, or a description."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ensemble.core.arrays import npz_entries
from ensemble.core.data_kinds import DATA, check_exists
from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file, is_folder
from ensemble.data.description import Description, read_description
from ensemble.data.formats.array_files import holds_arrays, mask_values, open_arrays
from ensemble.data.formats.arrays import entries_of
from ensemble.data.formats.files import FileSource
from ensemble.data.formats.folders import not_read
from ensemble.data.formats.image_files import SUFFIXES
from ensemble.data.formats.label_names import LabelNames
from ensemble.data.formats.npz import from_arrays, open_npz
from ensemble.data.formats.open_files import open_files
from ensemble.data.formats.registry import FORMATS, recognise_within
from ensemble.data.formats.samples import Samples, collect
from ensemble.data.formats.source import ArraySource, Source
from ensemble.data.survey import Completed, check_certain, complete, conclude, survey_values


@dataclass(frozen=True)
class Understood:
    """What was found at a path.

    Attributes:
        format: name of the format.
        root: folder or file that the patterns of the description begin at.
        completed: the description, and how its classes were found.
        samples: the images, if they are files.
    """

    format: str
    root: Path
    completed: Completed
    samples: Samples | None


def understand(path: Path) -> Understood:
    """Return the description of a folder or file, with classes from the values of its masks.

    A folder may hold nothing but another folder, such as VOCdevkit/VOC2012; that is ``root`` then.

    Raises:
        EnsError: it is of no known format, or its files cannot be used.
    """
    check_exists(path, DATA)
    found = recognise_within(path)
    if found is None:
        raise EnsError(_unknown(path))
    name, description, path = found
    if holds_arrays(description, path):
        completed = Completed(description)
        if description.classes is None:
            completed = conclude(description, survey_values(*mask_values(description, path)), LabelNames())
        return Understood(name, path, completed, None)
    samples = collect(description, path)
    masks = [sample for sample in samples.labelled if sample.masks]
    completed = complete(description, path, masks) if masks else Completed(description)
    read = {*samples.known, path / completed.names.file}
    completed = replace(completed, notes=(*completed.notes, *not_read(path, read)))
    return Understood(name, path, completed, samples)


def open_source(text: str) -> Source:
    """Open ``sample``, an npz file, a folder or a description (TOML).

    Args:
        text: what the user passes as data.

    Raises:
        EnsError: when something is wrong with the files, in one sentence.
    """
    path = Path(text).expanduser()
    if text == "sample" and not is_folder(path):
        return embedded_sample()
    check_exists(path, DATA)
    if is_file(path) and path.suffix.lower() == ".toml":
        description = read_description(path)
        return _open(description, path.parent / description.root)
    if is_file(path) and "training_set" in npz_entries(path):
        return open_npz(path)
    understood = understand(path)
    check_certain(understood.completed, path)
    source = _open(understood.completed.description, understood.root)
    notes = understood.completed.notes
    if understood.format != next(iter(FORMATS)):
        train = understood.completed.description.train
        found = f"images {', '.join(train.images)}; masks {train.masks}"
        notes = (f"recognised as {understood.format} ({found})", *notes)
    return replace(source, notes=(*notes, *source.notes))


def _open(description: Description, root: Path) -> ArraySource | FileSource:
    if not is_folder(root) and not is_file(root):
        raise EnsError(f"there is no file or folder {root}, the root of the description; correct root")
    if holds_arrays(description, root):
        return open_arrays(description, root)
    return open_files(description, root)


@cache
def embedded_sample() -> ArraySource:
    """Return the sample that the project draws itself; it is drawn once per process."""
    from ensemble.data.formats.sample.terrain import draw_sample  # noqa: PLC0415  (scipy, and two seconds of drawing)

    sample = draw_sample()
    arrays = {"training_set": sample.training_set, "test_set": sample.test_set}
    return from_arrays({**arrays, "training_groups": sample.training_groups}, "sample")


def _unknown(path: Path) -> str:
    if is_file(path):
        arrays = [f"{key} {entry.shape}" for key, entry in entries_of(path).items()]
        found = f"found {', '.join(arrays)}" if arrays else "but it is another file"
        return (
            f"expected {path} to be an npz file with images and masks, such as X and y, {found}; rename the arrays, or"
            " write a description with root, train.images and train.masks"
        )
    inside = path / "images" if (path / "images").is_dir() else path
    entries = sorted(inside.iterdir())
    names = [entry.relative_to(path).as_posix() + ("/" if entry.is_dir() else "") for entry in entries]
    holds = f", but {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else ""
    return (
        f"expected images in {path / 'images'} ({', '.join(SUFFIXES)}) and masks of the same names in {path / 'masks'},"
        f" found no image{holds}; pass the folder that contains images/ and masks/, or describe your data"
        " (`ens data describe --help`)"
    )
