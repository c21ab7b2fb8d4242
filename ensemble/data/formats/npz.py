"""Read npz files in the homework layout, completely into memory. `npz_stack` reads image by image."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.core.data_kinds import DATA, check_exists
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.void import VOID
from ensemble.data.formats.pixels import pixel_span, to_ids, to_unit
from ensemble.data.formats.source import ArraySource

MARS_CLASSES = {0: "background", 1: "soil", 2: "bedrock", 3: "sand", 4: "big rock"}


def open_npz(path: Path) -> ArraySource:
    """Open a file in the homework layout.

    Keys: ``training_set`` (N, 2, H, W) with grey image and mask; optional ``test_set`` (M, H, W),
    ``training_groups`` (N,) and ``classes`` (names in the order of the ids).

    Raises:
        EnsError: when the file is missing or damaged, a key is missing, or shapes or types do not fit.
    """
    arrays = read_arrays(path)
    if "training_set" not in arrays:
        keys = ", ".join(sorted(arrays)) or "nothing"
        raise EnsError(f"expected the key 'training_set' (N, 2, H, W) in {path}, found {keys}; add it and try again")
    return from_arrays(arrays, path.name)


def check_npz(path: Path, kinds: Sequence[str] = DATA) -> None:
    """Raise an error unless the path is a whole zip archive, which every npz file is.

    Raises:
        EnsError: when the file does not exist, is of another kind, or is cut short.
    """
    check_exists(path, kinds)
    if not zipfile.is_zipfile(path):
        raise EnsError(
            f"{path} is not an npz file or was cut short (no whole zip archive); write it with numpy.savez_compressed"
        )


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return every array of an npz file by its key. Python objects are never unpickled.

    Raises:
        EnsError: when the file is missing, damaged, or holds Python objects.
    """
    check_npz(path)
    try:
        # NumPy leaves a file that it opened itself open when the archive is damaged, so it is opened here.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            keys = [name.removesuffix(".npy") for name in archive.zip.namelist() if name.endswith(".npy")]
            return {key: _read_array(archive, key, path) for key in keys}
    except EnsError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise EnsError(f"{path} is damaged ({error}); copy or write it again") from None


def _read_array(archive: Mapping[str, NDArray[np.generic]], key: str, path: Path) -> NDArray[np.generic]:
    try:
        return archive[key]
    except ValueError as error:
        if "pickle" in str(error) or "Object" in str(error):
            raise EnsError(
                f"{path} holds Python objects under '{key}', which are never loaded because they can run code;"
                " save it as an array of numbers or of text"
            ) from None
        raise


def from_arrays(arrays: Mapping[str, NDArray[np.generic]], name: str) -> ArraySource:
    """Check the arrays of the homework layout and return them as a source.

    Args:
        arrays: the arrays by key, see `open_npz`.
        name: name of the data, for messages.

    Raises:
        EnsError: when shapes or types do not fit.
    """
    training = arrays["training_set"]
    if training.ndim != 4 or training.shape[1] != 2 or len(training) == 0:
        raise EnsError(
            f"expected training_set of shape (N, 2, H, W) with [:, 0] the image and [:, 1] the mask in {name},"
            f" got {training.shape}"
        )
    raw, masks = training[:, 0], to_ids(training[:, 1], name)
    if raw.dtype.kind not in "fiub":
        raise EnsError(f"expected numbers as training_set in {name}, got {raw.dtype}; save it as uint8 or float32")
    span = pixel_span(float(raw.min()), float(raw.max()), raw.dtype)
    height, width = raw.shape[1:3]
    test = arrays.get("test_set", np.zeros((0, height, width), raw.dtype))
    if test.ndim != 3 or test.shape[1:] != (height, width):
        raise EnsError(f"expected test_set of shape (M, {height}, {width}) like the training images, got {test.shape}")
    groups = arrays.get("training_groups")
    if groups is not None and groups.shape != (len(training),):
        raise EnsError(f"expected training_groups of shape ({len(training)},), one per image, got {groups.shape}")
    classes = arrays.get("classes")
    names = {index: str(text) for index, text in enumerate(classes.tolist())} if classes is not None else None
    if names is None and masks.max(initial=0, where=masks != VOID) == 4 and (height, width) == (64, 128):
        names = MARS_CLASSES  # the homework's own layout: 64x128 tiles with ids 0..4
    parts = [np.ascontiguousarray(training), np.ascontiguousarray(test)]
    texts = [] if groups is None else [str(item) for item in groups.tolist()]
    named = [] if classes is None else ["\n".join(str(item) for item in classes.tolist())]
    return ArraySource(
        images_nhwc=to_unit(raw, span, f"training_set of {name}")[..., None],
        masks_nhw=masks,
        test_nhwc=to_unit(test, span, f"test_set of {name}")[..., None],
        ids=tuple(str(row) for row in range(len(training))),
        test_ids=tuple(str(row) for row in range(len(test))),
        groups=tuple(texts) if groups is not None else None,
        names=names,
        span=span,
        fingerprint=digest(
            *(f"{a.dtype.str}{a.shape}" for a in parts), *(a.data for a in parts), "\n".join(texts), *named
        ),
    )
