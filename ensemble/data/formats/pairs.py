"""Folders of images and masks with usual names, in any order of parts and kinds, and masks next to their images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_folder
from ensemble.data.description import Description, Part
from ensemble.data.formats.folders import (
    IMAGE_WORDS,
    MASK_WORDS,
    folders_in,
    images_in,
    lists_in,
    tables_in,
)
from ensemble.data.formats.image_folders import ImageFolder, image_folders, says_nothing
from ensemble.data.formats.pairing import pair_in_one_folder, pair_names
from ensemble.data.formats.part_samples import read_ids
from ensemble.data.formats.patterns import find_files
from ensemble.data.formats.registry import FORMATS


@FORMATS.register("pairs")
def describe(path: Path) -> Description | None:
    """Images and masks in folders of usual names, or next to each other with names such as 1.jpg and 1_mask.png."""
    if not is_folder(path):
        return None
    if (alone := _folder_per_image(path)) is not None:
        return Description(train=alone, **tables_in(path))
    leaves = image_folders(path)
    sets = {rest: parts for rest in dict.fromkeys(leaf.rest for leaf in leaves) if (parts := _parts(leaves, rest))}
    if len(sets) > 1 and () not in sets:
        names = ", ".join("/".join(rest) + "/" for rest in sets)
        raise EnsError(f"expected one data set in {path}, got {len(sets)}: {names}; give the path of one of them")
    parts = sets.get(()) or next(iter(sets.values()), None)
    return None if parts is None else Description(**_with_lists(path, parts), **tables_in(path))


def _parts(leaves: Sequence[ImageFolder], rest: tuple[str, ...]) -> dict[str, Part] | None:
    """Return the parts of the data set in the folders whose other words are ``rest``, or None without labels."""
    by_part: dict[str | None, list[ImageFolder]] = defaultdict(list)
    for leaf in leaves:
        if leaf.rest == rest:
            by_part[leaf.part].append(leaf)
    train = _labelled(by_part["train"]) or _labelled(by_part[None])
    if train is None:
        return None
    found: dict[str, Part | None] = {"train": train, "val": _labelled(by_part["val"])}
    found["test"] = _labelled(by_part["test"]) or _unlabelled(by_part["test"])
    return {name: part for name, part in found.items() if part is not None}


def _labelled(leaves: Sequence[ImageFolder]) -> Part | None:
    """Return images and masks of one part: the two folders with most pairs, or one folder that holds both.

    Raises:
        EnsError: there are folders of images and of masks, but no names fit together.
    """
    masks = [leaf for leaf in leaves if leaf.kind == "mask"]
    images = _images(leaves)
    best: tuple[tuple[int, int, int], Part] | None = None
    for image in images:
        for mask in masks:
            pairing = pair_names(image.files, mask.files)
            if pairing is None:
                continue
            part = Part(images=(f"{image.pattern}{pairing.image}.*",), masks=f"{mask.pattern}{pairing.mask}.*")
            rank = (pairing.pairs, -_order(mask.pattern, MASK_WORDS), -_order(image.pattern, IMAGE_WORDS))
            if best is None or rank > best[0]:
                best = rank, part
    if best is not None:
        return best[1]
    for leaf in leaves:
        if (names := pair_in_one_folder(leaf.files)) is not None:
            return Part(images=(leaf.pattern + names[0],), masks=leaf.pattern + names[1])
    if masks and any(image.kind == "image" for image in images):
        raise EnsError(
            f"expected images and masks with common names, got {images[0].pattern}{images[0].files[0].name} and"
            f" {masks[0].pattern}{masks[0].files[0].name}; give a mask the name of its image, with the same word before"
            " or after it everywhere"
        )
    return None


def _unlabelled(leaves: Sequence[ImageFolder]) -> Part | None:
    images = _images(leaves)
    return Part(images=(f"{images[0].pattern}{{id}}.*",)) if images else None


def _images(leaves: Sequence[ImageFolder]) -> list[ImageFolder]:
    """Return the folders that are called images, or else those that are not called masks."""
    named = [leaf for leaf in leaves if leaf.kind == "image"]
    return named or [leaf for leaf in leaves if leaf.kind is None]


def _order(pattern: str, words: Sequence[str]) -> int:
    """Return the place of the first known word, because the usual names come first."""
    lower = pattern.lower()
    return next((place for place, word in enumerate(words) if word in lower), len(words))


def _folder_per_image(root: Path) -> Part | None:
    """Return the pattern of folders that each hold one image and its mask, such as ``7/image.png`` and ``7/mask.png``.

    Folders without telling names that hold pairs, such as ``patient/7.tif`` and ``patient/7_mask.tif``, are read too.
    """
    folders = {folder: images_in(folder) for folder in folders_in(root) if says_nothing(folder.name)}
    folders = {folder: files for folder, files in folders.items() if files}
    if len(folders) < 2 or images_in(root):
        return None
    common = set.intersection(*({path.stem for path in files} for files in folders.values()))
    images = sorted((IMAGE_WORDS.index(name.lower()), name) for name in common if name.lower() in IMAGE_WORDS)
    masks = sorted((MASK_WORDS.index(name.lower()), name) for name in common if name.lower() in MASK_WORDS)
    if images and masks:
        return Part(images=(f"{{id}}/{images[0][1]}.*",), masks=f"{{id}}/{masks[0][1]}.*")
    names = pair_in_one_folder([path for files in folders.values() for path in files])
    return None if names is None else Part(images=(f"*/{names[0]}",), masks=f"*/{names[1]}")


def _with_lists(root: Path, parts: Mapping[str, Part]) -> dict[str, Any]:
    """Return the parts that lists such as train.txt give, if there is one folder of labelled images for all of them."""
    lists = lists_in(root)
    if "val" in parts or not lists:
        return dict(parts)
    train = parts["train"]
    found = {part: train.model_copy(update={"ids": file}) for part, file in lists.items()}
    if "test" in found and train.masks is not None:
        listed = read_ids(root / lists["test"], set(find_files(root, train.images[0]).files))
        if not set(listed) <= set(find_files(root, train.masks).files):
            found["test"] = Part(images=train.images, ids=lists["test"])
    return dict(parts) | found
