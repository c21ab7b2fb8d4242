"""Mark the files that `ens predict` writes, and refuse an output that would replace or join any other file.

A mark holds the digest of what the file shows, so that a file which somebody changed is recognised, and its origin: the
digest of model and image, by which a repeated command knows what is finished. It is a text in a PNG file, the
description of a TIFF file and the comment of an npz file. A csv file cannot carry a mark, but a table of quality is
known by the names of its columns.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile, PngInfo

from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.reading import is_file, is_folder

KEY = "ens predict"  # keyword of the text in a PNG file; its value is the digest of the mask
_MODES = ("P", "I;16")  # ids of 8 and of 16 bits
ORIGIN_KEY = "ens predict from"
ARCHIVE_MARK = b"ens predict"  # beginning of the comment of an npz file
QUALITY_COLUMNS = ("id", "class", "iou", "low", "high", "pixels", "origin")  # a table with them is one of `ens predict`
ADVICE = "choose a new place, or move or delete what is there"


def mask_mark(mask_hw: NDArray[np.generic], origin: str = "") -> PngInfo:
    """Return the texts that mark a PNG file as a mask of `ens predict` that nobody has changed since."""
    mark = PngInfo()
    mark.add_text(KEY, _content_digest(mask_hw))
    if origin:
        mark.add_text(ORIGIN_KEY, origin)
    return mark


def tiff_mark(bands_chw: NDArray[np.generic], origin: str) -> str:
    """Return the description that marks a TIFF file."""
    return f"{KEY} {_content_digest(bands_chw)} {origin}"


def archive_mark(origin: str = "") -> bytes:
    """Return the comment that marks an npz file."""
    return ARCHIVE_MARK + (b" " + origin.encode() if origin else b"")


def origin_of(path: Path) -> str | None:
    """Return the origin of an unchanged file of `ens predict` (empty if an older version wrote it), or None.

    Whatever a damaged or foreign file raises, it is not ours.
    """
    try:
        if path.suffix.lower() == ".png":
            return _png_origin(path)
        if path.suffix.lower() in (".tif", ".tiff"):
            return _tiff_origin(path)
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8") as table:
                return "" if table.readline() == ",".join(QUALITY_COLUMNS) + "\n" else None
        with zipfile.ZipFile(path) as archive:
            own = archive.comment.startswith(ARCHIVE_MARK)
            return archive.comment.removeprefix(ARCHIVE_MARK).decode().strip() if own else None
    except Exception:
        return None


def check_replaceable(out: Path) -> None:
    """Check that writing to ``out`` destroys nothing that `ens predict` did not write, before anything is written.

    A folder may hold unchanged predictions of `ens predict` (a repeated command completes or replaces them), folders of
    these, and hidden files. A csv file of masks cannot carry a mark, so it is never replaced.

    Raises:
        EnsError: there is something else; the text names it.
    """
    if is_folder(out):
        for path in sorted(out.iterdir()):
            if path.name.startswith("."):
                continue
            if is_folder(path):
                _check_folder(path, out)
            elif origin_of(path) is None:
                raise _foreign(out, path)
    elif is_file(out) and out.suffix and origin_of(out) is None:
        raise EnsError(
            f"expected a new file for the output, but {out} exists; only a png, tif or npz file that `ens predict`"
            f" wrote is replaced; {ADVICE}"
        )


def _check_folder(folder: Path, out: Path) -> None:
    """Check a sub-folder: it is ours if it holds predictions and nothing else."""
    inside = [path for path in sorted(folder.rglob("*")) if not is_folder(path)]
    if not inside or any(origin_of(path) is None for path in inside if not path.name.startswith(".")):
        raise _foreign(out, folder)


def _foreign(out: Path, path: Path) -> EnsError:
    return EnsError(
        f"expected a folder that is empty or holds only masks of `ens predict` for the output, but {out}"
        f" holds {path.name}, which it did not write or which was changed since; {ADVICE}"
    )


def _content_digest(array: NDArray[Any]) -> str:
    return digest(str(array.shape), np.ascontiguousarray(array).data)


def _png_origin(path: Path) -> str | None:
    with PngImageFile(path) as picture:  # not Image.open, which refuses a mask of more than 179 million pixels
        own = picture.mode in _MODES and picture.info.get(KEY) == _content_digest(np.asarray(picture))
        return str(picture.info.get(ORIGIN_KEY, "")) if own else None


def _tiff_origin(path: Path) -> str | None:
    with tifffile.TiffFile(path) as file:
        *words, found, origin = file.pages.first.description.split(" ")
        pixels = file.series[0].asarray()
        bands_chw = pixels[None] if pixels.ndim == 2 else pixels
        if bands_chw.shape[0] != file.pages.first.samplesperpixel:  # rasterio stores pixel after pixel by default
            bands_chw = np.moveaxis(pixels, -1, 0)
        return origin if " ".join(words) == KEY and found == _content_digest(bands_chw) else None
