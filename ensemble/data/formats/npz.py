"""Read npz files in the homework layout, completely into memory. `npz_stack` reads image by image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.arrays import Entry, npz_entries, read_npz
from ensemble.core.data_kinds import DATA, check_exists
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.reading import check_memory
from ensemble.core.void import VOID
from ensemble.data.formats.names import class_names
from ensemble.data.formats.pixels import Span, check_pixels, limits_of, natural_span, pixel_span, to_ids, to_unit
from ensemble.data.formats.source import ArraySource

MARS_CLASSES = {0: "background", 1: "soil", 2: "bedrock", 3: "sand", 4: "big rock"}
KEYS = ("training_set", "test_set", "training_groups", "classes")
MAX_IMAGES = 1_000_000
_COPIES = 6  # bytes of memory per byte of the file: the file, and its images as float32


def open_npz(path: Path) -> ArraySource:
    """Open a file in the homework layout.

    Keys: ``training_set`` (N, 2, H, W) with grey image and mask; optional ``test_set`` (M, H, W),
    ``training_groups`` (N,) and ``classes`` (names in the order of the ids).

    Raises:
        EnsError: when the file is missing or damaged, a key is missing, or shapes or types do not fit.
    """
    check_exists(path, DATA)
    entries = npz_entries(path)
    if "training_set" not in entries:
        keys = ", ".join(sorted(entries)) or "nothing"
        raise EnsError(f"expected the key 'training_set' (N, 2, H, W) in {path}, found {keys}; add it and try again")
    _check_shape(entries["training_set"].shape, path.name)
    size = sum(entries[key].nbytes for key in KEYS if key in entries)
    check_memory(size * _copies(entries["training_set"]), f"reading {path}")
    others = sorted(set(entries) - set(KEYS))
    notes = (f"left out of {path.name}, because only {', '.join(KEYS)} are read: {', '.join(others)}",)
    return from_arrays(read_npz(path, KEYS), path.name, notes if others else ())


def from_arrays(arrays: Mapping[str, NDArray[Any]], name: str, notes: tuple[str, ...] = ()) -> ArraySource:
    """Check the arrays of the homework layout and return them as a source.

    Args:
        arrays: the arrays by key, see `open_npz`.
        name: name of the data, for messages.
        notes: sentences about what is left out.

    Raises:
        EnsError: when shapes or types do not fit.
    """
    training = arrays["training_set"]
    _check_shape(training.shape, name)
    raw, masks = training[:, 0], to_ids(training[:, 1], f"the masks of {name}")
    span = span_of(raw, f"training_set of {name}")
    height, width = raw.shape[1:3]
    test = arrays.get("test_set", np.zeros((0, height, width), raw.dtype))
    if test.ndim != 3 or test.shape[1:] != (height, width) or len(test) > MAX_IMAGES:
        raise EnsError(f"expected test_set of shape (M, {height}, {width}) like the training images, got {test.shape}")
    _check_images(test, f"test_set of {name}")
    groups = _texts(arrays.get("training_groups"), "training_groups", name)
    if groups is not None and len(groups) != len(training):
        raise EnsError(f"expected training_groups of shape ({len(training)},), one per image, got ({len(groups)},)")
    classes = _texts(arrays.get("classes"), "classes", name)
    names = class_names(classes, f"'classes' of {name}") if classes is not None else None
    if names is None and masks.max(initial=0, where=masks != VOID) == 4 and (height, width) == (64, 128):
        names = MARS_CLASSES  # the homework's own layout: 64x128 tiles with ids 0..4
    parts = [np.ascontiguousarray(training), np.ascontiguousarray(test)]
    return ArraySource(
        images_nhwc=to_unit(raw, span, f"training_set of {name}")[..., None],
        masks_nhw=masks,
        test_nhwc=to_unit(test, span, f"test_set of {name}")[..., None],
        ids=tuple(str(row) for row in range(len(training))),
        test_ids=tuple(str(row) for row in range(len(test))),
        groups=groups,
        names=names,
        span=span,
        fingerprint=digest(
            *(f"{a.dtype.str}{a.shape}" for a in parts),
            *(a.data for a in parts),
            "\n".join(groups or ()),
            *([] if classes is None else ["\n".join(classes)]),
        ),
        notes=notes,
    )


def _copies(training: Entry) -> int:
    return 3 if training.dtype == np.uint8 else _COPIES


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 4 or shape[1] != 2 or min(shape) < 1:
        raise EnsError(
            f"expected training_set of shape (N, 2, H, W) with [:, 0] the image and [:, 1] the mask in {name},"
            f" got {shape}"
        )
    if shape[0] > MAX_IMAGES:
        raise EnsError(f"expected at most {MAX_IMAGES} images in {name}, got {shape[0]}; make several data sets")


def span_of(images: NDArray[Any], what: str) -> Span:
    """Return the raw values of images (n, ...) that become 0 and 1, after their pixels are checked.

    Raises:
        EnsError: pixels are no finite numbers or marks of missing data, or images have different units.
    """
    _check_images(images, what)
    decided = natural_span(images.dtype.name) is not None
    limits = {} if decided else {f"image {row}": limits_of(image) for row, image in enumerate(images)}
    return pixel_span(limits, images.dtype)


def _check_images(images_nhw: NDArray[Any], what: str) -> None:
    """Check the pixels of all images at once; if something is wrong, the message names the first such image."""
    if images_nhw.dtype.kind not in "fiub":
        raise EnsError(f"expected numbers as {what}, got {images_nhw.dtype}; save it as uint8 or float32")
    if images_nhw.dtype.kind not in "ub":
        for row, image in enumerate(images_nhw):
            check_pixels(image, f"image {row} of {what}")


def _texts(array: NDArray[Any] | None, key: str, name: str) -> tuple[str, ...] | None:
    return None if array is None else texts_of(array, key, name)


def texts_of(array: NDArray[Any], key: str, name: str) -> tuple[str, ...]:
    """Return an array of names or numbers as texts.

    Args:
        array: the array.
        key: its name.
        name: name of the data, for messages.

    Raises:
        EnsError: it is no list, or an entry is empty.
    """
    if array.ndim != 1 or array.dtype.kind not in "iubfSU":
        raise EnsError(
            f"expected '{key}' of {name} as a list of names or numbers, got {array.dtype} of shape {array.shape}; save"
            " it as a one-dimensional array"
        )
    if array.dtype.kind == "S":  # Python shows bytes as b'...'
        array = np.char.decode(array, "utf-8", "replace")
    texts = tuple(str(item) for item in array.tolist())
    wrong = next((row for row, text in enumerate(texts) if not text.strip() or text == "nan"), None)
    if wrong is not None:
        raise EnsError(f"expected a name or number as entry {wrong} of '{key}' of {name}, got '{texts[wrong]}'; add it")
    return texts
