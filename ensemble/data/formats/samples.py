"""Collect the images of all parts of a description, with their masks, and say what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_folder
from ensemble.data.description import Description, Part
from ensemble.data.formats.coding import MaskTable
from ensemble.data.formats.image_files import SUFFIXES
from ensemble.data.formats.mask_tables import open_mask_tables
from ensemble.data.formats.part_samples import Sample, samples_of

_FOLDERS = 3  # folders whose files are left out that get a sentence each


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
        samples, left, beyond = samples_of(part, name, root, in_table=name in tables)
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
