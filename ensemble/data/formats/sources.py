"""Where images and masks come from: arrays (an npz file, the embedded sample) or a folder (see ``folder``)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ensemble.config import Background
from ensemble.core.errors import EnsError
from ensemble.core.files import digest

Span = tuple[float, float]
BYTES: Span = (0.0, 255.0)
_NATURAL: dict[str, Span] = {"uint8": BYTES, "uint16": (0.0, 65535.0), "bool": (0.0, 1.0)}

MARS_CLASSES = {0: "background", 1: "soil", 2: "bedrock", 3: "sand", 4: "big rock"}


class Source(Protocol):
    """Raw data: images as uint8 or as float32 in 0..1, masks with the data set's own ids."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Identity of each labelled image."""
        ...

    @property
    def test_ids(self) -> tuple[str, ...]:
        """Identity of each test image."""
        ...

    @property
    def groups(self) -> tuple[str, ...] | None:
        """Group of each labelled image, or None."""
        ...

    @property
    def names(self) -> Mapping[int, str] | None:
        """Class names by id, or None."""
        ...

    @property
    def default_background(self) -> Background:
        """What class 0 is unless the user says otherwise."""
        ...

    @property
    def span(self) -> Span:
        """Raw pixel values that became 0 and 1."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of the content."""
        ...

    def images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Images (n, h, w, c)."""
        ...

    def masks(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Masks (n, h, w)."""
        ...

    def test_images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Test images (n, h, w, c)."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """Images, masks and test images that are in memory, in the layout of an npz file."""

    images_nhwc: NDArray[np.generic]
    masks_nhw: NDArray[np.uint8]
    test_nhwc: NDArray[np.generic]
    ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    groups: tuple[str, ...] | None
    names: Mapping[int, str] | None
    span: Span
    fingerprint: str
    default_background: Background = "void"

    def images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Images (n, h, w, c) of the given rows."""
        return self.images_nhwc[np.asarray(rows, dtype=np.int64)]

    def masks(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Masks (n, h, w) of the given rows, with the data set's own ids."""
        return self.masks_nhw[np.asarray(rows, dtype=np.int64)]

    def test_images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Unlabelled test images (n, h, w, c)."""
        return self.test_nhwc[np.asarray(rows, dtype=np.int64)]


def open_npz(path: Path) -> ArraySource:
    """Open a file in the homework layout.

    Keys: ``training_set`` (N, 2, H, W): grey image and mask; optional ``test_set`` (M, H, W),
    ``training_groups`` (N,) and ``classes`` (names in the order of the ids).

    Raises:
        EnsError: the file is missing or damaged, keys are missing, shapes or types do not fit.
    """
    arrays = read_arrays(path)
    if "training_set" not in arrays:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise EnsError(f"expected the key 'training_set' (N, 2, H, W) in {path}, found {found}; add it and try again")
    return from_arrays(arrays, path.name)


def check_npz(path: Path) -> None:
    """Refuse a path that is no zip archive."""
    if not path.is_file():
        raise EnsError(f"there is no file {path}; give an npz file, a folder with images/ and masks/, or 'sample'")
    if not zipfile.is_zipfile(path):
        raise EnsError(f"{path} is not an npz file (no zip archive); write it with numpy.savez_compressed")


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read every array of an npz file without ever unpickling."""
    if not path.is_file():
        raise EnsError(f"there is no file {path}; give an npz file, a folder with images/ and masks/, or 'sample'")
    if not zipfile.is_zipfile(path):
        raise EnsError(
            f"{path} is not an npz file or was cut short (no whole zip archive); write it with numpy.savez_compressed"
        )
    arrays: dict[str, NDArray[np.generic]] = {}
    try:
        # NumPy leaves a file that it opened itself open when the archive is damaged.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            for key in (name.removesuffix(".npy") for name in archive.zip.namelist() if name.endswith(".npy")):
                try:
                    arrays[key] = archive[key]
                except ValueError as error:
                    if "pickle" in str(error) or "Object" in str(error):
                        raise EnsError(
                            f"{path} holds Python objects under '{key}', which are never loaded because they can run"
                            " code; save it as an array of numbers or of text"
                        ) from None
                    raise
    except EnsError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise EnsError(f"{path} is damaged ({error}); copy or write it again") from None
    return arrays


def from_arrays(arrays: Mapping[str, NDArray[np.generic]], name: str) -> ArraySource:
    """Check the arrays of the homework layout and wrap them."""
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
    if names is None and masks.max(initial=0, where=masks != 255) == 4 and (height, width) == (64, 128):
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


def pixel_span(low: float, high: float, dtype: np.dtype[np.generic]) -> Span:
    """The values that become 0 and 1: the range of the type, or for other numbers 0..1, 0..255 or what they span."""
    if dtype.name in _NATURAL:
        return _NATURAL[dtype.name]
    if not np.isfinite([low, high]).all():
        raise EnsError("expected finite numbers as pixels, got NaN or infinity; fill or drop those images")
    if low >= 0 and high <= 255:
        return (0.0, 1.0) if high <= 1 else BYTES
    return (low, high)


def to_unit(images: NDArray[np.generic], span: Span, what: str) -> NDArray[np.generic]:
    """Pixels as float32 with ``span`` mapped to 0..1; bytes stay uint8, at a quarter of the memory.

    Images must be in the units of the images that gave the span.

    Raises:
        EnsError: no numbers, NaN or infinity, or numbers that are evidently in other units.
    """
    if images.dtype == np.uint8 and span == BYTES:
        return images
    if images.dtype.kind not in "fiub" or not np.isfinite(images).all():
        raise EnsError(f"expected finite numbers as pixels in {what}, got {images.dtype} with NaN, infinity or text")
    natural = _NATURAL.get(images.dtype.name, span)
    too_small = natural == span and span[1] >= 255 and images.dtype.kind == "f" and 0 < images.max(initial=0) <= 1
    if natural != span or too_small:
        found = f"{images.dtype} in {images.min():g}..{images.max():g}"
        raise EnsError(
            f"expected pixels in the units of the training images, {span[0]:g} to {span[1]:g}, got {found} in {what};"
            " convert them"
        )
    return (images.astype(np.float32) - np.float32(span[0])) / np.float32(span[1] - span[0])


def to_ids(masks: NDArray[np.generic], what: str) -> NDArray[np.uint8]:
    """Masks as uint8 ids; fractions, negative numbers and ids beyond 255 are refused."""
    if masks.dtype == np.uint8:
        return masks.astype(np.uint8, copy=False)
    if masks.dtype.kind not in "fiub":
        raise EnsError(f"expected mask values that are whole numbers 0..255 in {what}, got {masks.dtype}")
    with np.errstate(invalid="ignore"):
        ids = masks.astype(np.uint8, casting="unsafe")
    wrong = ids != masks
    if wrong.any():
        bad = ", ".join(str(value) for value in np.unique(masks[wrong])[:3].tolist())
        raise EnsError(f"expected mask values that are whole numbers 0..255 in {what}, got values such as {bad}")
    return ids
