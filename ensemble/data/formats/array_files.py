"""Read a data set of arrays, completely into memory, as its description says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.arrays import Entry, npy_entry, npz_entries, read_array
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.reading import check_memory, is_file
from ensemble.data.description import Coding, Description, Part
from ensemble.data.formats.array_masks import Axes, bands_last, find_axes, to_values
from ensemble.data.formats.arrays import entries_of
from ensemble.data.formats.coding import to_labels
from ensemble.data.formats.names import class_names
from ensemble.data.formats.npz import MAX_IMAGES, span_of, texts_of
from ensemble.data.formats.pixels import to_ids, to_unit
from ensemble.data.formats.source import ArraySource
from ensemble.data.formats.tables import groups_by_pattern, read_split

_COPIES = 6  # bytes of memory per byte of the arrays: themselves, and their images as float32


@dataclass(frozen=True)
class _Read:
    """The arrays of one part: images (n, h, w, c), labels (n, h, w) and ids."""

    images_nhwc: NDArray[Any]
    labels_nhw: NDArray[np.uint8] | None
    ids: tuple[str, ...]


def holds_arrays(description: Description, root: Path) -> bool:
    """Return whether the images of a description are arrays: in an npz file, or in an npy file."""
    return is_file(root) or description.train.images[0].endswith(".npy")


def mask_values(description: Description, root: Path) -> tuple[Coding, dict[str, NDArray[Any]]]:
    """Return what the pixels of the masks of all labelled images are, and their values (h, w) by id.

    Raises:
        EnsError: arrays are missing or damaged, or do not fit together.
    """
    coding: Coding = "ids"
    values: dict[str, NDArray[Any]] = {}
    for name, part in description.parts.items():
        if name == "test" or part.masks is None:
            continue
        axes = find_axes(_entry(root, part.images[0]), _entry(root, part.masks))
        coding, found = _values(description, root, part.masks, axes, None)
        values |= {f"{name}-{row}": mask for row, mask in enumerate(found)}
    return coding, values


def open_arrays(description: Description, root: Path) -> ArraySource:
    """Open the arrays that a description names.

    Args:
        description: names of the arrays, and what their values mean.
        root: the npz file, or the folder of the npy files.

    Raises:
        EnsError: arrays are missing or damaged, do not fit together or into memory.
    """
    _check(description, root)
    named = [key for part in description.parts.values() for key in (*part.images, part.masks, part.ids) if key]
    check_memory(_COPIES * sum(_entry(root, key).nbytes for key in named), f"reading {root}")
    axes = find_axes(_entry(root, description.train.images[0]), _entry(root, str(description.train.masks)))
    read = {name: _part(description, root, name, part, axes) for name, part in description.parts.items()}
    labelled = [read[name] for name in ("train", "val") if name in read]
    raw = np.concatenate([part.images_nhwc for part in labelled])
    labels = np.concatenate([part.labels_nhw for part in labelled if part.labels_nhw is not None])
    test = read.get("test", _Read(raw[:0], None, ()))
    span = span_of(raw, str(root))
    parts = tuple(name for name in ("train", "val") if name in read for _ in read[name].ids)
    ids = tuple(each for part in labelled for each in part.ids)
    if len(set(ids)) < len(ids):
        ids = tuple(f"{part}-{each}" for part, each in zip(parts, ids, strict=True))
    named += [key for key in (description.groups, description.names) if key]
    return ArraySource(
        images_nhwc=to_unit(raw, span, f"the images of {root}"),
        masks_nhw=labels,
        test_nhwc=to_unit(test.images_nhwc, span, f"the test images of {root}"),
        ids=ids,
        test_ids=test.ids,
        groups=_groups(description, root, ids),
        names=_names(description, root),
        span=span,
        fingerprint=_fingerprint(description, [raw, labels, test.images_nhwc, test.labels_nhw], ids),
        default_background="class",
        notes=_notes(root, named),
        parts=_parts(description, root, ids, parts),
        written=dict(enumerate(description.written)),
        colours=description.colours,
        test_masks_nhw=test.labels_nhw,
    )


def read_images(description: Description, root: Path) -> tuple[str, tuple[str, ...], NDArray[Any]]:
    """Return the name of an array, the ids and the images (n, h, w, c) of the test part, or of train without one.

    Raises:
        EnsError: arrays are missing or damaged, do not fit together or into memory.
    """
    _check(description, root)
    part = description.test or description.train
    check_memory(2 * _entry(root, part.images[0]).nbytes, f"reading {root}")
    axes = find_axes(_entry(root, description.train.images[0]), _entry(root, str(description.train.masks)))
    read = _part(description, root, "test", part.model_copy(update={"masks": None}), axes)
    span_of(read.images_nhwc, f"'{part.images[0]}' of {root}")
    return part.images[0], read.ids, read.images_nhwc


def _check(description: Description, root: Path) -> None:
    for name, part in description.parts.items():
        if len(part.images) > 1:
            raise EnsError(f"expected one array as {name}.images for {root}, got {len(part.images)}; join their bands")
    if description.no_data is not None:
        raise EnsError(f"no_data works for image files, and {root} holds arrays; set the masks to void there")


def _part(description: Description, root: Path, name: str, part: Part, axes: Axes) -> _Read:
    key = part.images[0]
    entry = _entry(root, key)
    if entry.shape[0] > MAX_IMAGES:
        raise EnsError(f"expected at most {MAX_IMAGES} images in {entry}, got {entry.shape[0]}; make several data sets")
    labels = None
    if part.masks is not None:
        own = find_axes(entry, _entry(root, part.masks))
        _check_same(own, axes, entry)
        labels = _labels(description, root, part.masks, own)
    elif len(entry.shape) != 3 + (axes.images != "none"):
        raise EnsError(f"expected {entry} in the form of the training images, got the shape {entry.shape}")
    images = bands_last(read_array(entry), axes.images)
    if images.shape[1:3] != (axes.height, axes.width):
        raise EnsError(
            f"expected {entry} as images of {axes.height}x{axes.width} like those of the training part, got"
            f" {images.shape[1]}x{images.shape[2]}"
        )
    if description.bands is not None:
        if max(description.bands) > images.shape[-1]:
            raise EnsError(f"expected at least {max(description.bands)} bands in {entry}, got {images.shape[-1]}")
        images = images[..., [band - 1 for band in description.bands]]
    ids = None if part.ids is None else texts_of(read_array(_entry(root, part.ids)), part.ids, root.name)
    if ids is not None and (len(ids) != len(images) or len(set(ids)) != len(ids)):
        raise EnsError(
            f"expected a different id for each of the {len(images)} images of {name} in '{part.ids}' of {root};"
            " correct it"
        )
    return _Read(np.ascontiguousarray(images), labels, ids or tuple(map(str, range(len(images)))))


def _check_same(own: Axes, axes: Axes, entry: Entry) -> None:
    if (own.images, own.height, own.width) != (axes.images, axes.height, axes.width):
        raise EnsError(
            f"expected {entry} in the form and size of the training images ({axes.height}x{axes.width}), got"
            f" {entry.shape}"
        )


def _values(
    description: Description, root: Path, key: str, axes: Axes, coding: Coding | None
) -> tuple[Coding, NDArray[Any]]:
    masks = bands_last(read_array(_entry(root, key)), axes.masks)
    if masks.dtype.kind not in "fiub":
        raise EnsError(f"expected numbers as masks in '{key}' of {root}, got {masks.dtype}; save the ids as uint8")
    if description.channel is not None:
        if description.channel > masks.shape[-1]:
            raise EnsError(f"expected at least {description.channel} bands in '{key}' of {root}, as channel says")
        masks = masks[..., [description.channel - 1]]
    return to_values(masks, coding, f"'{key}' of {root}")


def _labels(description: Description, root: Path, key: str, axes: Axes) -> NDArray[np.uint8]:
    coding = description.coding if description.coding != "ids" else None
    found, values = _values(description, root, key, axes, coding)
    if found != description.coding:
        raise EnsError(f"'{key}' of {root} holds colours; set coding and [classes] in the description")
    if description.classes is None:
        return to_ids(values, f"'{key}' of {root}")
    indices = description.indices
    return np.stack(
        [to_labels(mask, indices, f"the mask {row} in '{key}' of {root}") for row, mask in enumerate(values)]
    )


def _entry(root: Path, key: str) -> Entry:
    if not is_file(root):
        return npy_entry(root / key)
    entries = npz_entries(root)
    if key not in entries:
        raise EnsError(f"expected the array '{key}' in {root}, found {', '.join(entries) or 'nothing'}; correct it")
    return entries[key]


def _groups(description: Description, root: Path, ids: Sequence[str]) -> tuple[str, ...] | None:
    if description.groups is None:
        return None if description.group_pattern is None else groups_by_pattern(description.group_pattern, ids)
    groups = texts_of(read_array(_entry(root, description.groups)), description.groups, root.name)
    if len(groups) != len(ids):
        raise EnsError(
            f"expected {len(ids)} groups in '{description.groups}' of {root}, one per image, got {len(groups)}"
        )
    return groups


def _names(description: Description, root: Path) -> Mapping[int, str] | None:
    if description.classes is not None:
        return class_names(list(description.classes), "[classes]")
    if description.names is None:
        return None
    names = texts_of(read_array(_entry(root, description.names)), description.names, root.name)
    return class_names(names, f"'{description.names}' of {root}")


def _parts(description: Description, root: Path, ids: Sequence[str], parts: tuple[str, ...]) -> tuple[str, ...] | None:
    if description.split is not None:
        return read_split((root.parent if is_file(root) else root) / description.split, ids)
    return None if description.val is None else parts


def _notes(root: Path, used: Sequence[str]) -> tuple[str, ...]:
    others = sorted(set(entries_of(root)) - set(used))
    return (f"left out of {root.name}, because nothing names them: {', '.join(others)}",) if others else ()


def _fingerprint(description: Description, arrays: Sequence[NDArray[Any] | None], ids: Sequence[str]) -> str:
    present = [np.ascontiguousarray(array) for array in arrays if array is not None]
    meaning = description.model_dump(exclude_defaults=True, include={"coding", "classes", "void", "group_pattern"})
    return digest(
        *(f"{a.dtype.str}{a.shape}" for a in present), *(a.data for a in present), "\n".join(ids), repr(meaning)
    )
