"""Find the images of one part of a description, with their masks, by patterns and by a list of ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.texts import read_text
from ensemble.data.description import Part
from ensemble.data.formats.image_files import SUFFIXES
from ensemble.data.formats.names import plain_name
from ensemble.data.formats.patterns import find_files


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


def samples_of(
    part: Part, name: str, root: Path, *, in_table: bool
) -> tuple[list[Sample], set[Path], dict[str, list[Path]]]:
    """Return the samples of a part, files that fit no pattern, and those of ids that its list does not name.

    Args:
        part: its patterns.
        name: ``train``, ``val`` or ``test``.
        root: folder of the data.
        in_table: whether one file holds the masks of all images.

    Raises:
        EnsError: there are no images, an image has no mask or a mask no image, or two files have one name.
    """
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
