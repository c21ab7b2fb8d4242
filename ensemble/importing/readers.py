"""Predictions as other tools write them (npz, npy, zarr, a folder with a file per image), read an image at a time."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.files import digest, file_digest
from ensemble.data.formats.image_files import read_mask
from ensemble.data.formats.npz_stack import NpzStack
from ensemble.data.formats.sources import check_npz

BESIDE = ("ids", "rows", "classes")  # arrays that say what the others hold
FOLDER_FORMS = (".npz", ".npy", ".png")  # nnU-Net writes its PNG maps beside its npz: the first kind found is read
ZARR_MARKS = ("zarr.json", ".zarray", ".zgroup")
Image = NDArray[np.generic]


@dataclass(frozen=True)
class Predictions:
    """Predicted maps of images, none of them read yet.

    Attributes:
        path: the file or folder.
        form: ``npz``, ``npy``, ``zarr`` or ``png``.
        key: name of the array that is read, None where arrays have no names.
        count: number of images.
        shape: channels, height and width of the first image; None for class maps (png).
        read: image number -> (channels, h, w) in the type of the file, or a class map (h, w) of the data set's ids.
        files: the file of each image by name, None where one file holds all.
        ids: id of each image, where the file says it.
        rows: row of each image in the data set, where the file says that instead.
        classes: name of each channel, where the file says it.
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
        """Digest of the content, independent of where it lies."""
        parts = self.files
        if parts is None:
            parts = (self.path,) if self.path.is_file() else tuple(p for p in self.path.rglob("*") if p.is_file())
        return digest(*(f"{p.relative_to(self.path).as_posix()} {file_digest(p)}" for p in sorted(parts)))


def open_predictions(path: Path, *, logits: bool = False) -> Predictions:
    """Open predictions of any form by what they are called and hold.

    Args:
        path: ``FILE.npz`` or ``FILE.npy`` (n, c, h, w), a zarr array or group, or a folder with an npz (nnU-Net's
            layout: ``probabilities`` (c, h, w) or (c, 1, h, w)), npy or PNG file per image, named by its id.
        logits: take the array ``logits`` of an npz that holds both.

    Raises:
        EnsError: nothing there, another form, damaged files, or no array that can be meant.
    """
    if not path.exists():
        raise EnsError(f"there is no file or folder {path}; give the predictions as npz, npy, zarr or a folder")
    if path.is_dir():
        zarr = path.suffix.lower() == ".zarr" or any(
            (path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup")
        )
        return _open_zarr(path, logits) if zarr else _open_folder(path, logits)
    if path.suffix.lower() == ".npz":
        return _open_npz(path, logits)
    if path.suffix.lower() == ".npy":
        return _open_npy(path)
    raise EnsError(f"expected predictions as FILE.npz, FILE.npy, zarr or a folder of npz, npy or PNG files, got {path}")


def _open_npz(path: Path, logits: bool) -> Predictions:
    check_npz(path)
    with _guard(path), path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        key = _array_key(archive.files, logits, path)
        beside = _beside({name: archive[name] for name in BESIDE if name in archive.files})
    stack = NpzStack.open(path, key)
    return _stacked(path, "npz", key, stack.shape, stack.read, beside)


def _open_npy(path: Path) -> Predictions:
    def load() -> Image:  # mapped anew each time, so that pages read before do not stay in memory
        with _guard(path):
            return np.load(path, mmap_mode="r", allow_pickle=False)

    return _stacked(path, "npy", None, load().shape, lambda row: np.array(load()[row]), {})


def _open_zarr(path: Path, logits: bool) -> Predictions:
    try:
        zarr: Any = importlib.import_module("zarr")
    except ImportError:
        raise EnsError(
            f"{path} is a zarr store, which needs the package zarr; install it, or give the predictions as npz or npy"
        ) from None
    with _guard(path):
        found = zarr.open(str(path), mode="r")
        if hasattr(found, "shape"):
            return _stacked(path, "zarr", None, found.shape, lambda row: np.asarray(found[row]), {})
        names = list(found.array_keys())
        array = found[key := _array_key(names, logits, path)]
        beside = _beside({name: np.asarray(found[name][:]) for name in BESIDE if name in names})
    return _stacked(path, "zarr", key, array.shape, lambda row: np.asarray(array[row]), beside)


def _stacked(
    path: Path,
    form: str,
    key: str | None,
    shape: Sequence[int],
    read: Callable[[int], Image],
    beside: Mapping[str, tuple[str, ...]],
) -> Predictions:
    if len(shape) != 4 or not shape[0]:
        what = f"'{key}' of {path}" if key else str(path)
        raise EnsError(
            f"expected {what} of shape (images, channels, height, width), got {tuple(shape)}; class maps go in as a"
            " folder of PNG files"
        )
    for name in ("ids", "rows"):
        if name in beside and len(beside[name]) != shape[0]:
            raise EnsError(f"expected one of '{name}' per image in {path}, got {len(beside[name])} for {shape[0]}")
    return Predictions(path, form, key, shape[0], tuple(shape[1:]), read, None, *(beside.get(each) for each in BESIDE))


def _open_folder(path: Path, logits: bool) -> Predictions:
    found = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    for suffix in FOLDER_FORMS:
        files = tuple(sorted(file for file in found if file.suffix.lower() == suffix))
        if files:
            break
    else:
        raise EnsError(f"expected a file per image ({', '.join(FOLDER_FORMS)}) in {path}, found none; check the folder")
    ids, form = tuple(file.stem for file in files), suffix[1:]
    if form == "png":
        return Predictions(path, form, None, len(files), None, lambda row: read_mask(files[row]), files, ids)
    key, first = _read_file(files[0], logits)
    return Predictions(
        path, form, key, len(files), first.shape, lambda row: _read_file(files[row], logits)[1], files, ids
    )


def _read_file(path: Path, logits: bool) -> tuple[str | None, Image]:
    """Key and array (c, h, w) of the file of one image; a depth of 1 (nnU-Net's) is dropped."""
    key: str | None = None
    with _guard(path), path.open("rb") as stream:
        loaded: Any = np.load(stream, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            key = _array_key(loaded.files, logits, path)
            loaded = loaded[key]
    array: Image = loaded[:, 0] if loaded.ndim == 4 and loaded.shape[1] == 1 else loaded
    if array.ndim != 3:
        raise EnsError(f"expected one image (channels, height, width) in {path}, got the shape {array.shape}")
    return key, array


def _array_key(names: Iterable[str], logits: bool, path: Path) -> str:
    """The array meant: ``probabilities``, else ``logits`` (the other way round under ``--logits``), or the only one."""
    arrays = [name for name in names if name not in BESIDE]
    order = ("logits", "probabilities") if logits else ("probabilities", "logits")
    key = next((name for name in order if name in arrays), arrays[0] if len(arrays) == 1 else None)
    if key is None:
        raise EnsError(
            f"expected the array 'probabilities' or 'logits' or one array alone in {path}, found"
            f" {', '.join(sorted(names)) or 'nothing'}; rename it"
        )
    if logits and key == "probabilities":
        raise EnsError(f"{path} calls its array 'probabilities', but --logits says logits; drop --logits or rename it")
    return key


def _beside(arrays: Mapping[str, Image]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(str(value) for value in array.ravel().tolist()) for name, array in arrays.items()}


@contextmanager
def _guard(path: Path) -> Generator[None]:
    """What readers raise on damaged files, as one sentence."""
    try:
        yield
    except EnsError:
        raise
    except Exception as error:  # numpy, zipfile and zarr raise whatever comes: ValueError, EOFError, KeyError ...
        if isinstance(error, MemoryError):
            raise
        text = str(error).partition("\n")[0]
        objects = "pickle" in text or "Python objects" in text
        what = "holds Python objects, which are never loaded" if objects else f"cannot be read ({text})"
        raise EnsError(f"{path} {what}; write it again as arrays of numbers") from None
