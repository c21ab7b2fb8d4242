"""Read the predictions of other tools (npz, npy, zarr, a folder with a file per image), one image at a time."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.arrays import npy_entry, npz_entries, read_array, read_npz
from ensemble.core.errors import EnsError
from ensemble.core.files import digest, file_digest
from ensemble.core.reading import guard, is_file, is_folder
from ensemble.data.formats.image_files import read_image, read_mask
from ensemble.data.formats.npz import MAX_IMAGES
from ensemble.data.formats.npz_stack import NpzStack

DESCRIPTIONS = ("ids", "rows", "classes")  # arrays that describe the images and channels of the predictions
TIFF_MAPS = ".probabilities.tif"  # `ens predict --probabilities` writes them next to class maps: 65535 is 1
FOLDER_FORMS = (".npz", ".npy", ".png")  # the first kind found is read: nnU-Net writes PNG maps next to its npz
ZARR_MARKS = ("zarr.json", ".zarray", ".zgroup")
Image = NDArray[np.generic]
_ADVICE = "write it again as arrays of numbers"


@dataclass(frozen=True)
class Predictions:
    """Predictions of images, opened but not yet read.

    Attributes:
        path: the file or folder.
        form: ``npz``, ``npy``, ``zarr``, ``tif`` or ``png``.
        key: name of the array that is read; None if arrays have no names.
        count: number of images.
        shape: channels, height and width of the first image; None for class maps (png).
        read: function from an image number to (channels, h, w) in the type of the file, or to a class map (h, w) of
            the data set's ids.
        files: file of each image, sorted by name; None if one file holds all images.
        ids: id of each image; None if the file does not name them.
        rows: row of each image in the data set; None if the file does not number them.
        classes: name of each channel; None if the file does not name them.
    """

    path: Path
    form: str
    key: str | None
    count: int
    shape: tuple[int, ...] | None
    read: Callable[[int], Image]
    files: tuple[Path, ...] | None = None
    ids: tuple[str, ...] | None = None
    rows: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None

    def digest(self) -> str:
        """Return the digest of the content, which does not depend on the path."""
        parts = self.files
        if parts is None:
            parts = (self.path,) if self.path.is_file() else tuple(p for p in self.path.rglob("*") if p.is_file())
        return digest(*(f"{p.relative_to(self.path).as_posix()} {file_digest(p)}" for p in sorted(parts)))


def open_predictions(path: Path, *, logits: bool = False) -> Predictions:
    """Open predictions; their form follows from the file name and the content.

    Args:
        path: ``FILE.npz`` or ``FILE.npy`` (n, c, h, w), a zarr array or group, or a folder with an npz (nnU-Net's
            layout: ``probabilities`` (c, h, w) or (c, 1, h, w)), npy or PNG file per image, named by its id, or with
            what `ens predict --probabilities` writes: ``ID.probabilities.tif`` next to class maps, which are not read.
        logits: take the array ``logits`` of an npz that holds both.

    Raises:
        EnsError: no such file, another form, damaged files, or arrays among which the choice is not clear.
    """
    if not is_file(path) and not is_folder(path):
        raise EnsError(f"there is no file or folder {path}; pass the predictions as npz, npy, zarr or a folder")
    if is_folder(path):
        zarr = path.suffix.lower() == ".zarr" or any((path / name).exists() for name in ZARR_MARKS)
        return _open_zarr(path, logits) if zarr else _open_folder(path, logits)
    if path.suffix.lower() == ".npz":
        return _open_npz(path, logits)
    if path.suffix.lower() == ".npy":
        return _open_npy(path)
    raise EnsError(
        f"expected predictions as FILE.npz, FILE.npy, zarr or a folder of npz, npy or PNG files, got {path};"
        " export them in one of these forms"
    )


def _open_npz(path: Path, logits: bool) -> Predictions:
    entries = npz_entries(path)
    key = _array_key(entries, logits, path)
    _check_shape(entries[key].shape, key, path)
    described = _texts(read_npz(path, DESCRIPTIONS))
    return _stacked(path, "npz", key, entries[key].shape, NpzStack.open(path, key).read_any, described)


def _open_npy(path: Path) -> Predictions:
    entry = npy_entry(path)

    def read(row: int) -> Image:  # mapped anew for each image, so that earlier pages do not stay in memory
        with guard(path, "an npy file", _ADVICE):
            return np.array(np.load(path, mmap_mode="r", allow_pickle=False)[row])

    return _stacked(path, "npy", None, entry.shape, read, {})


def _open_zarr(path: Path, logits: bool) -> Predictions:
    try:
        zarr: Any = importlib.import_module("zarr")
    except ImportError:
        raise EnsError(
            f"{path} is a zarr store, which needs the package zarr; install zarr, or pass the predictions as npz or npy"
        ) from None
    with guard(path, "a zarr store", _ADVICE):
        opened = zarr.open(str(path), mode="r")
        if hasattr(opened, "shape"):
            return _stacked(path, "zarr", None, opened.shape, lambda row: np.asarray(opened[row]), {})
        names = list(opened.array_keys())
        array = opened[key := _array_key(names, logits, path)]
        described = _texts({name: np.asarray(opened[name][:]) for name in DESCRIPTIONS if name in names})
    return _stacked(path, "zarr", key, array.shape, lambda row: np.asarray(array[row]), described)


def _stacked(
    path: Path,
    form: str,
    key: str | None,
    shape: Sequence[int],
    read: Callable[[int], Image],
    described: Mapping[str, tuple[str, ...]],
) -> Predictions:
    _check_shape(shape, key, path)
    for name in ("ids", "rows"):
        if name in described and len(described[name]) != shape[0]:
            raise EnsError(
                f"expected one of '{name}' per image in {path}, got {len(described[name])} for {shape[0]} images;"
                " write one for each image"
            )
    return Predictions(
        path, form, key, shape[0], tuple(shape[1:]), read, None, *(described.get(each) for each in DESCRIPTIONS)
    )


def _check_shape(shape: Sequence[int], key: str | None, path: Path) -> None:
    if len(shape) != 4 or min(shape) < 1 or shape[0] > MAX_IMAGES:
        subject = f"'{key}' of {path}" if key else str(path)
        raise EnsError(
            f"expected {subject} of shape (images, channels, height, width) with at most {MAX_IMAGES} images, got"
            f" {tuple(shape)}; write class maps as a folder of PNG files"
        )


def _open_folder(path: Path, logits: bool) -> Predictions:
    present = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    if maps := tuple(sorted(file for file in present if file.name.endswith(TIFF_MAPS))):
        if logits:
            raise EnsError(f"{maps[0]} holds probabilities, but logits was given; drop logits")
        ids = tuple(file.name.removesuffix(TIFF_MAPS) for file in maps)
        shape = _read_tiff(maps[0]).shape
        return Predictions(path, "tif", "probabilities", len(maps), shape, lambda row: _read_tiff(maps[row]), maps, ids)
    for suffix in FOLDER_FORMS:
        files = tuple(sorted(file for file in present if file.suffix.lower() == suffix))
        if files:
            break
    else:
        raise EnsError(f"expected a file per image ({', '.join(FOLDER_FORMS)}) in {path}, found none; check the path")
    ids, form = tuple(file.stem for file in files), suffix[1:]
    if form == "png":
        return Predictions(path, form, None, len(files), None, lambda row: read_mask(files[row]), files, ids)
    key, first = _read_file(files[0], logits)
    classes = _texts(read_npz(files[0], ("classes",))).get("classes") if form == "npz" else None
    return Predictions(
        path,
        form,
        key,
        len(files),
        first.shape,
        lambda row: _read_file(files[row], logits)[1],
        files,
        ids,
        classes=classes,
    )


def _read_tiff(path: Path) -> Image:
    """Return the probabilities (c, h, w) in a TIFF with a band of 16 bits per class, in which 65535 is 1."""
    bands_hwc = read_image(path)
    if bands_hwc.dtype != np.uint16:
        raise EnsError(f"expected a band of 16 bits per class in {path}, got {bands_hwc.dtype}; write it again")
    return np.moveaxis(bands_hwc.astype(np.float32) / 65535, -1, 0)


def _read_file(path: Path, logits: bool) -> tuple[str | None, Image]:
    """Return key and array (c, h, w) of the file of one image.

    A depth of 1 (c, 1, h, w), as nnU-Net writes it, is dropped, and so is the axis of a single image (1, c, h, w).
    """
    key: str | None = None
    if path.suffix.lower() == ".npz":
        entries = npz_entries(path)
        entry = entries[key := _array_key(entries, logits, path)]
    else:
        entry = npy_entry(path)
    loaded = read_array(entry)
    array: Image = loaded
    if loaded.ndim == 4 and 1 in loaded.shape[:2]:
        array = loaded[:, 0] if loaded.shape[1] == 1 else loaded[0]
    if array.ndim != 3 or not array.size:
        raise EnsError(
            f"expected one image (channels, height, width) in {path}, got the shape {array.shape}; write one"
        )
    return key, array


def _array_key(names: Iterable[str], logits: bool, path: Path) -> str:
    """Return the array to read: ``probabilities``, else ``logits`` (``logits`` first if asked for), or the only one."""
    arrays = [name for name in names if name not in DESCRIPTIONS]
    order = ("logits", "probabilities") if logits else ("probabilities", "logits")
    key = next((name for name in order if name in arrays), arrays[0] if len(arrays) == 1 else None)
    if key is None:
        raise EnsError(
            f"expected the array 'probabilities' or 'logits' or a single array in {path}, found"
            f" {', '.join(sorted(names)) or 'nothing'}; rename the array"
        )
    if logits and key == "probabilities":
        raise EnsError(f"{path} calls its array 'probabilities', but logits was given; drop logits or rename it")
    return key


def _texts(arrays: Mapping[str, Image]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(str(value) for value in array.ravel().tolist()) for name, array in arrays.items()}
