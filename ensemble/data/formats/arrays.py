"""Arrays of images and masks under usual names, in an npz file or in npy files of a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ensemble.core.arrays import Entry, npy_entry, npz_entries
from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file, is_folder
from ensemble.data.description import Description, Part
from ensemble.data.formats.registry import FORMATS

_PARTS = {
    "train": ("train", "training", "tr"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
# The first kind that a name speaks of: "image_masks" are masks, "image_ids" are ids.
_KINDS = {
    "groups": ("groups", "group", "training_groups"),
    "names": ("classes", "class_names", "classnames"),
    "ids": ("ids", "id", "filenames", "names"),
    "masks": ("y", "mask", "masks", "msk", "msks", "label", "labels", "target", "targets", "gt", "seg", "annotations"),
    "images": ("x", "image", "images", "img", "imgs", "data", "input", "inputs", "pictures", "tiles", "patches"),
}
_PLAIN = ("arr_0", "arr_1")  # names that numpy.savez gives to arrays without names


@FORMATS.register("arrays")
def describe(path: Path) -> Description | None:
    """An npz with X and y, images and masks, or x_train, y_train ...; or a folder with such npy files."""
    entries = entries_of(path)
    keys = arrays_by_use(tuple(entries), path)
    if ("train", "images") not in keys or ("train", "masks") not in keys:
        return None
    parts: dict[str, Part] = {}
    for part in _PARTS:
        images, masks = keys.get((part, "images")), keys.get((part, "masks"))
        if images is not None and (masks is not None or part == "test"):
            parts[part] = Part(images=(images,), masks=masks, ids=keys.get((part, "ids")))
    return Description(
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        names=keys.get(("train", "names")),
        groups=keys.get(("train", "groups")),
    )


def entries_of(path: Path) -> Mapping[str, Entry]:
    """Return the arrays of an npz file by name, or the npy files of a folder by their path below it.

    Raises:
        EnsError: a file is damaged.
    """
    if is_file(path):
        return npz_entries(path) if path.suffix.lower() == ".npz" else {}
    if not is_folder(path):
        return {}
    parts = {word for words in _PARTS.values() for word in words}
    folders = [path, *(sorted(f for f in path.iterdir() if f.name.lower() in parts and is_folder(f)))]
    files = [file for folder in folders for file in sorted(folder.glob("*.npy")) if is_file(file)]
    return {file.relative_to(path).as_posix(): npy_entry(file) for file in files if _use(_stem(path, file))}


def arrays_by_use(keys: tuple[str, ...], path: Path) -> dict[tuple[str, str], str]:
    """Return the array of each part and kind, such as ``("train", "images")``.

    Raises:
        EnsError: two arrays have names of one kind.
    """
    if set(_PLAIN) == set(keys):
        return {("train", "images"): _PLAIN[0], ("train", "masks"): _PLAIN[1]}
    found: dict[tuple[str, str], str] = {}
    for key in keys:
        use = _use(key.removesuffix(".npy"))
        if use is None:
            continue
        if use in found:
            raise EnsError(
                f"'{found[use]}' and '{key}' of {path} may both be the {use[1]} of the part {use[0]}; rename one, or"
                f" write a description (root, train.images, train.masks)"
            )
        found[use] = key
    return found


def _stem(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix().removesuffix(".npy")


def _use(name: str) -> tuple[str, str] | None:
    """Return the part and the kind that the name of an array speaks of.

    >>> _use("x_train"), _use("imgs_mask_train"), _use("yval"), _use("weights")
    (('train', 'images'), ('train', 'masks'), ('val', 'masks'), None)
    """
    words: list[str] = []
    for word in re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()):
        inner = word[1:] if word[:1] in ("x", "y") and len(word) > 1 else word[:-1] if word[-1:] in ("x", "y") else ""
        joined = any(inner in names for names in _PARTS.values())
        words += [inner, word.replace(inner, "")] if joined else [word]
    part = next((part for part, names in _PARTS.items() if set(words) & set(names)), "train")
    rest = [word for word in words if word not in _PARTS[part]]
    text = "_".join(rest)
    kind = next((kind for kind, names in _KINDS.items() if text in names or set(rest) & set(names)), None)
    if kind is None or (kind == "names" and text not in _KINDS["names"]):
        return None
    return part, kind
