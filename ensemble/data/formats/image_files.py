"""Read image and mask files of any kind: PNG, JPEG, TIFF, BMP or WebP, 8 or 16 bit or float, any number of bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.reading import guard, is_folder, read_bytes
from ensemble.data.formats import pictures, tiff
from ensemble.data.formats.header import Header, kind_of, turned
from ensemble.data.formats.names import plain_name
from ensemble.data.formats.pixels import check_pixels, to_ids

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_KIND, _ADVICE = "an image", "write it again as PNG, JPEG or TIFF"


def image_header(path: Path) -> Header:
    """Return what the head of an image or mask file says.

    Raises:
        EnsError: the file is no image, is damaged, or claims a size that it cannot hold.
    """
    with guard(path, _KIND, _ADVICE):
        return _read(path)[0]


def read_image(path: Path, no_data: float | None = None) -> NDArray[Any]:
    """Return an image as (h, w, c) in the type of the file, as a viewer shows it.

    Colours are in RGB order, alpha is dropped. Pixels that the file marks as without data get the mean of the others;
    :func:`read_no_data` says which they are.

    Args:
        path: the file.
        no_data: the mark of pixels without data, instead of the one that the file names.

    Raises:
        EnsError: the file cannot be read in full, or holds NaN, infinity, or what looks like a mark of no data.
    """
    return _filled(path, no_data)[0]


def read_rows(path: Path, first: int, end: int) -> NDArray[Any]:
    """Return some rows (rows, w, c) of a TIFF that is stored as it is shown, and no more of it is read than needed.

    Unlike in :func:`read_image`, pixels without data are as they are stored, and no pixel is checked.

    Raises:
        EnsError: the rows cannot be read.
    """
    with guard(path, _KIND, _ADVICE):
        stored = tiff.read_pixels(path, ids=False, rows=(first, end))
        return stored if stored.ndim == 3 else stored[..., None]


def read_no_data(path: Path, no_data: float | None = None) -> NDArray[np.bool_]:
    """Return at which pixels (h, w) no band of the image has data; see :func:`read_image`."""
    return _filled(path, no_data)[1]


def _filled(path: Path, no_data: float | None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    with guard(path, _KIND, _ADVICE):
        header, stored = _read(path, ids=False)
        image = np.ascontiguousarray(turned(stored if stored.ndim == 3 else stored[..., None], header.orientation))
        absent = np.zeros(image.shape[:2], np.bool_)
        mark = header.no_data if no_data is None else no_data
        if mark is not None:
            image = image.copy()  # some decoders give arrays that cannot be changed
            absent[:] = (np.isnan(image) if np.isnan(mark) else image == mark).all(-1)
            if absent.all():
                raise EnsError(f"{path} has no pixel with data (all are {mark:g}); leave this image out")
            for band in np.moveaxis(image, -1, 0):
                band[absent] = band[~absent].mean(dtype=np.float64)
        check_pixels(image, str(path))
    return image, absent


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Return a mask of class ids (h, w): the indices of a palette image, or the grey values; alpha is dropped.

    Raises:
        EnsError: the file cannot be read, was compressed with losses, or holds colours or numbers that are no ids.
    """
    with guard(path, _KIND, _ADVICE):
        header, stored = _read(path, ids=True)
        mask = turned(stored, header.orientation)
        check_mask_kind(header, path)
        alpha = mask[..., -1] if mask.ndim == 3 and mask.shape[2] in (2, 4) else None
        if alpha is not None:
            mask = mask[..., :-1]
            if (mask == mask[0, 0]).all() and not (alpha == alpha[0, 0]).all():
                raise EnsError(
                    f"all colours of the mask {path} are equal and only its transparency differs, as in a cut-out;"
                    " write the ids as grey values"
                )
        if mask.ndim == 3 and (mask[..., :1] == mask).all():
            mask = mask[..., 0]
        if mask.ndim != 2:
            colours = np.unique(mask.reshape(-1, mask.shape[2])[: 1 << 20], axis=0)
            shown = ", ".join(str(tuple(colour)) for colour in colours[:4].tolist())
            raise EnsError(
                f"expected one id per pixel (indexed or grey) in the mask {path}, got colours {mask.shape}:"
                f" {len(colours)}, such as {shown}; write an id for each colour"
            )
        return to_ids(np.ascontiguousarray(mask), str(path))


def read_mask_pixels(path: Path, *, colours: bool = False, alpha: bool = False) -> NDArray[Any]:
    """Return the pixels of a mask as a viewer shows them, (h, w) or (h, w, c).

    Args:
        path: the file.
        colours: return colours (h, w, 3), also those of a palette, not ids.
        alpha: keep transparency, which is dropped otherwise.

    Raises:
        EnsError: the file cannot be read, or was compressed with losses.
    """
    with guard(path, _KIND, _ADVICE):
        header, stored = _read(path, ids=True)
        check_mask_kind(header, path)
        if colours:
            stored = _read(path, ids=False)[1]
            stored = stored[..., None] if stored.ndim == 2 else stored
        elif not alpha and stored.ndim == 3 and stored.shape[2] in (2, 4):
            stored = stored[..., :-1]
        return np.ascontiguousarray(turned(stored, header.orientation))


def check_mask_kind(header: Header, path: Path) -> None:
    """Raise an error if the compression of a mask has changed its ids."""
    if header.lossy:
        raise EnsError(
            f"the mask {path} is a {header.kind} with lossy compression, which changes ids along every edge; export the"
            " masks anew as PNG (a conversion of this file keeps the wrong ids)"
        )


def _read(path: Path, *, ids: bool | None = None) -> tuple[Header, NDArray[Any]]:
    """Return header and stored pixels of a file; without ``ids`` no pixels."""
    none: NDArray[Any] = np.zeros(0)
    with path.open("rb") as stream:
        kind = kind_of(stream.read(16))
    if kind == "TIFF":
        header = tiff.read_header(path)
        return header, none if ids is None else tiff.read_pixels(path, ids=ids)
    content = read_bytes(path, _KIND, _ADVICE)
    header = pictures.read_header(content, kind, path)
    return header, none if ids is None else pictures.read_pixels(content, kind, ids=ids)


def image_files(folder: Path) -> dict[str, Path]:
    """Return the image files of a folder by stem, in sorted order; see `plain_name`.

    Raises:
        EnsError: when two files have the same stem.
    """
    files: dict[str, Path] = {}
    for path in _entries(folder):
        if _is_image(path):
            stem = plain_name(path.stem)
            if stem in files:
                raise EnsError(f"{files[stem].name} and {path.name} in {folder} have the same name; rename one")
            files[stem] = path
    return files


def left_out(folder: Path) -> str | None:
    """Return a sentence that counts and names what a folder holds besides images, or None if it holds nothing else."""
    others = [path.name for path in _entries(folder) if not _is_image(path)]
    if not others:
        return None
    names = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    return (
        f"left out of {folder.absolute().name}/, because only {', '.join(SUFFIXES)} are read: {len(others)} ({names})"
    )


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if is_folder(folder) else []


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not is_folder(path)


def resize(array: NDArray[np.generic], size: tuple[int, int], interpolation: int) -> NDArray[np.generic]:
    """Resize (h, w) or (h, w, c) to ``size`` (height, width); bands are kept."""
    if array.shape[:2] == size:
        return array
    planes = [array] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    resized: list[NDArray[np.generic]] = []
    for plane in planes:
        contiguous: Any = np.ascontiguousarray(plane)  # cv2's stubs know fewer types than cv2
        resized.append(cv2.resize(contiguous, size[::-1], interpolation=interpolation))
    return resized[0] if array.ndim == 2 else np.stack(resized, axis=-1)
