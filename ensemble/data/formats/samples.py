"""Collect the images of a description with their masks, part by part, and say what is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_folder
from ensemble.core.texts import read_text
from ensemble.data.description import Description, Part
from ensemble.data.formats.coding import MaskTable
from ensemble.data.formats.image_files import SUFFIXES
from ensemble.data.formats.mask_tables import open_mask_tables
from ensemble.data.formats.names import plain_name
from ensemble.data.formats.patterns import find_files

_FOLDERS = 3  # folders whose files are left out that get a sentence each


@dataclass(frozen=True)
class Sample:
    """One image: its files, one per group of bands, and the files of its mask, which are united.

    Attributes:
        id: its name, unique in the data set.
        name: the part of its path that image and mask have in common.
        images: files of the image.
        masks: files of the mask; empty if it has none, or if one file holds the masks of all images.
        part: ``train``, ``val`` or ``test``.
    """

    id: str
    name: str
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    part: str


@dataclass(frozen=True)
class Samples:
    """All images of a description.

    Attributes:
        labelled: images of the training and validation parts.
        test: images of the test part.
        notes: sentences about files that are left out.
        tables: the masks of each part, if one file holds them.
        known: files that are used, or named in a note.
    """

    labelled: tuple[Sample, ...]
    test: tuple[Sample, ...]
    notes: tuple[str, ...]
    tables: Mapping[str, MaskTable] = field(default_factory=dict[str, MaskTable])
    known: frozenset[Path] = frozenset()


def collect(description: Description, root: Path) -> Samples:
    """Return all images of a description.

    Raises:
        EnsError: there are no images, an image has no mask or a mask no image, or two have one name.
    """
    found: list[Sample] = []
    others: set[Path] = set()
    unlisted: dict[str, list[Path]] = {}
    notes: tuple[str, ...] = ()
    tables = open_mask_tables(description, root)
    for name, part in description.parts.items():
        samples, left, beyond = _part(part, name, root, in_table=name in tables)
        if name in tables:
            beyond |= {each.name: [*each.images] for each in samples if each.name not in tables[name].names}
            samples, absent = _known(samples, tables[name], part)
            notes += absent
        found += samples
        others |= left
        unlisted |= beyond
    found = _without_listed(found, description)
    used = {path for sample in found for path in (*sample.images, *sample.masks)}
    used |= {path for sample in found for path in _companions(sample.images[0])}
    used |= {root / text for part in description.parts.values() for text in (part.ids, part.masks) if text}
    used |= {root / text for text in (description.names, description.split, description.groups) if text}
    others -= used | {folder for path in used for folder in path.parents}
    notes += _left_out(root, others)
    listed = {sample.name for sample in found}
    missing = sorted(set(unlisted) - listed)
    if missing:
        notes += (f"left out, because no list names them: {len(missing)} images ({_names(missing)})",)
    _check_one_part(found)
    labelled = _unique([sample for sample in found if sample.part != "test"])
    test = tuple(sample for sample in found if sample.part == "test")
    known = used | others | {path for key in missing for path in unlisted[key]}
    return Samples(tuple(labelled), test, notes, tables, frozenset(known))


def _without_listed(samples: Sequence[Sample], description: Description) -> list[Sample]:
    """Return the samples without those that another part lists: a part without a list gets the rest."""
    listed = {sample.images for sample in samples if description.parts[sample.part].ids is not None}
    return [each for each in samples if description.parts[each.part].ids is not None or each.images not in listed]


def _known(samples: Sequence[Sample], table: MaskTable, part: Part) -> tuple[list[Sample], tuple[str, ...]]:
    """Return the images that a table of masks knows, and a sentence about those that are not there."""
    kept = [sample for sample in samples if sample.name in table.names]
    if not kept:
        some = next(iter(sorted(table.names)), "none")
        raise EnsError(
            f"{part.masks} names {len(table.names)} images, such as {some}, but knows none of the {len(samples)} images"
            f" {part.images[0]}; correct the patterns"
        )
    absent = sorted(table.names - {sample.name for sample in kept})
    if not absent:
        return kept, ()
    return kept, (f"{part.masks} names images that are not there: {len(absent)} ({_names(absent)})",)


def _part(
    part: Part, name: str, root: Path, *, in_table: bool
) -> tuple[list[Sample], set[Path], dict[str, list[Path]]]:
    """Return the samples of a part, files that fit no pattern, and those of ids that its list does not name."""
    bands = [find_files(root, pattern) for pattern in part.images]
    others = {path for found in bands for path in found.others}
    masks = None if part.masks is None or in_table else find_files(root, part.masks)
    files = masks.files if masks else {}
    claimed = {path for paths in files.values() for path in paths}
    images = [
        {key: kept for key, paths in found.files.items() if (kept := [path for path in paths if path not in claimed])}
        for found in bands
    ]
    if masks:
        others |= masks.others - {path for each in images for paths in each.values() for path in paths}
    _check_one_file(images)
    if not images[0]:
        if name == "test":
            return [], others, {}
        raise EnsError(
            f"expected images {part.images[0]} ({', '.join(SUFFIXES)}) below {root}, found none; correct the pattern or"
            " the root"
        )
    wanted = list(images[0])
    beyond: dict[str, list[Path]] = {}
    if part.ids is not None:
        listed = read_ids(root / part.ids, set(wanted))
        beyond = {key: [*images[0].get(key, ()), *files.get(key, ())] for key in {*wanted, *files} - set(listed)}
        wanted = listed
    for each, pattern in zip(images[1:], part.images[1:], strict=True):
        _check_complete(wanted, each, f"file {pattern}", root)
    if masks:
        _check_complete(wanted, files, "mask", root)
        if part.ids is None:
            _check_complete(list(files), images[0], "image", root)
    samples = [
        Sample(key, key, tuple(each[key][0] for each in images), tuple(files.get(key, ())), name) for key in wanted
    ]
    return samples, others, beyond


def _check_one_file(images: Sequence[Mapping[str, Sequence[Path]]]) -> None:
    for each in images:
        for paths in each.values():
            if len(paths) > 1:
                raise EnsError(
                    f"{paths[0].name} and {paths[1].name} in {paths[0].parent} have the same name; rename one"
                    if paths[0].parent == paths[1].parent
                    else f"{paths[0]} and {paths[1]} have the same name; rename one"
                )


def _check_complete(ids: Sequence[str], files: Mapping[str, Sequence[Path]], what: str, root: Path) -> None:
    missing = sorted(set(ids) - set(files))
    if missing:
        plain = {_without_zeros(key): key for key in files}
        if other := plain.get(_without_zeros(missing[0])):
            raise EnsError(
                f"{len(missing)} of {len(ids)} files in {root} have no {what}: the first is {missing[0]}, but there is"
                f" {other}, which differs in leading zeros; give both the same number of digits"
            )
        raise EnsError(
            f"{len(missing)} of {len(ids)} files in {root} have no {what}, the first is {missing[0]};"
            f" add the {what} or move the file away"
        )


def _without_zeros(name: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", name)


def read_ids(path: Path, known: set[str]) -> list[str]:
    """Return the ids of a list: each line, or its first word, without a path and an ending; without repeats.

    Raises:
        EnsError: the list is empty, or names an image that is not among those ``known``.
    """
    ids: dict[str, None] = {}
    for line in read_text(path).splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole, word = (_file_name(text) for text in (line.strip(), line.split()[0]))
        names = (plain_name(line.strip()), whole, Path(whole).stem, word, Path(word).stem)
        key = next((name for name in names if name in known), None)
        if key is None:
            raise EnsError(f"{path} names the image {word}, but there is no such image; correct the list")
        ids[key] = None
    if not ids:
        raise EnsError(f"expected the id of an image in each line of {path}, found no line; correct the list")
    return sorted(ids)


def _file_name(path: str) -> str:
    return plain_name(path.replace("\\", "/").rpartition("/")[2])


def _check_one_part(samples: Sequence[Sample]) -> None:
    """Raise an error if an image is in two parts."""
    part_of: dict[tuple[Path, ...], str] = {}
    for sample in samples:
        other = part_of.setdefault(sample.images, sample.part)
        if other != sample.part:
            raise EnsError(f"the image {sample.images[0]} is in the parts {other} and {sample.part}; keep one of them")


def _unique(samples: list[Sample]) -> list[Sample]:
    """Return samples with unique ids: names that occur in several parts get the name of the part before them."""
    count = Counter(sample.name for sample in samples)
    return [replace(each, id=f"{each.part}-{each.name}") if count[each.name] > 1 else each for each in samples]


def _companions(image: Path) -> list[Path]:
    """Return files that belong to an image without being read: world files and statistics of GDAL."""
    return [image.with_name(image.name + ".aux.xml"), image.with_suffix(".tfw"), image.with_suffix(".ovr")]


def _left_out(root: Path, others: set[Path]) -> tuple[str, ...]:
    """Return sentences about files that are not read, one for each folder, or for each reason if there are many."""
    folders: dict[Path, list[str]] = {}
    for path in sorted(others):
        folders.setdefault(path.parent, []).append(path.name + "/" * is_folder(path))
    alike: dict[str, list[Path]] = {}
    for folder, names in folders.items():
        alike.setdefault(_reason(names), []).append(folder)
    sentences: list[str] = []
    for reason, each in alike.items():
        for some in [each] if len(each) > _FOLDERS else [[folder] for folder in each]:
            names = [name for folder in some for name in folders[folder]]
            where = f"{some[0].absolute().name}/" + (f" and {len(some) - 1} other folders" if len(some) > 1 else "")
            sentences.append(f"left out of {where}, because {reason}: {len(names)} ({_names(names)})")
    return tuple(sentences)


def _reason(names: Sequence[str]) -> str:
    images = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
    return "they fit no pattern" if images else f"only {', '.join(SUFFIXES)} are read"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
