"""Predict an image that is too large for the memory: strip after strip into a hidden folder, from there into the mask.

The image is read some rows at a time, and of the probabilities only those of one strip of tiles exist at a time. Each
decided strip becomes a file in a hidden folder next to the mask, which appears there whole or not at all, so a killed
command goes on with the strip that it did not finish. When all strips are there, the mask is written from them as any
other mask: its bytes are those of an uninterrupted command.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.files import digest, write_bytes
from ensemble.core.locks import locked
from ensemble.core.progress import Progress
from ensemble.core.reading import guard
from ensemble.inference.georeference import GeoReference
from ensemble.inference.image_rows import open_rows
from ensemble.inference.image_sources import Head, Images, Measured
from ensemble.inference.predictor import Predictor
from ensemble.inference.write_files import write_mask

ROWS = 1 << 10  # from which small objects are removed at once
LARGE_PIXELS = 1 << 25  # pixels of an image above which it is predicted from disk to disk


def is_large(head: Head) -> bool:
    """Return whether an image is predicted from disk to disk."""
    return head.height * head.width > LARGE_PIXELS


def check_large(head: Head, name: str) -> None:
    """Check an image of which more than the mask is wanted.

    Raises:
        EnsError: the image is large.
    """
    if is_large(head):
        raise EnsError(
            f"expected at most {LARGE_PIXELS:,} pixels in an image of which more than the mask is written, got"
            f" {head.height}x{head.width} in {name}; leave out probabilities, uncertainty, class sets and quality, or"
            " cut the image into pieces"
        )


def write_large(
    predictor: Predictor,
    images: Images,
    row: int,
    file: Path,
    origin: str,
    geo: GeoReference | None,
    progress: Progress,
) -> None:
    """Write the mask of a large image; strips that a killed command finished are kept.

    Args:
        predictor: a member or an ensemble.
        images: the images.
        row: which of them.
        file: file of the mask.
        origin: digest of model and image.
        geo: where the image lies.
        progress: callback that receives the progress.

    Raises:
        EnsError: the image is damaged or does not fit, the disk is full, or pixels are to be left open in an image
            from which small objects are removed.
    """
    head = images.head(row)
    if predictor.least and predictor.pool.smallest_c is not None:
        raise EnsError(
            f"expected at most {LARGE_PIXELS:,} pixels in an image whose uncertain pixels are left open if small"
            f" objects are removed from it, got {head.height}x{head.width} in {images.name(row)}; leave max_error"
            " (--max-error) out, or cut the image into pieces"
        )
    folder = _folder(file, digest(origin, repr(predictor.networks.tiling)))
    with locked(folder, file.name):
        strips = [folder / f"{index:05d}.npy" for index in range(len(predictor.networks.tiling.spans(head.height)))]
        known = next((index for index, strip in enumerate(strips) if not strip.exists()), len(strips))
        found = strips_of(predictor, images, row, progress, known)
        for strip, probs in zip(strips[known:], found, strict=True):
            content = io.BytesIO()
            np.save(content, _rows(predictor, probs))
            write_bytes(strip, content.getvalue())
        write_mask(predictor, _whole(predictor, _joined(strips, head, folder)), file, origin, geo)
        for strip in strips:
            strip.unlink()
    with suppress(OSError):  # another process has begun in it
        folder.rmdir()


def strips_of(
    predictor: Predictor, images: Images, row: int, progress: Progress, known: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Check an image and return the probabilities (k, rows, w) of its strips, without the first ``known`` ones.

    Raises:
        EnsError: the image is damaged or does not fit.
    """
    head = images.head(row)
    read, highest = open_rows(images, row).checked(head.height, predictor.facts.bands, predictor.facts.span, progress)
    if isinstance(images, Measured):
        images.highest = max(images.highest, highest)
    return predictor.networks.strips(read, head.height, head.width, progress, known)


def _rows(predictor: Predictor, probs: NDArray[np.float32]) -> NDArray[np.unsignedinteger[Any]]:
    """Return what is kept of a strip: its mask, or the classes of its pixels if the rows below decide, too."""
    if predictor.pool.smallest_c is None:
        return predictor.masks(probs[None])[0]
    return predictor.pool.decide_pixels(probs[None])[0].astype(np.uint8)


def _whole(predictor: Predictor, rows_hw: NDArray[Any]) -> NDArray[Any]:
    """Return the mask (h, w) from what was kept of all strips."""
    if predictor.pool.smallest_c is None:
        return rows_hw
    parts = [slice(top, top + ROWS) for top in range(0, len(rows_hw), ROWS)]
    return np.concatenate([predictor.ids(predictor.pool.cleaned(rows_hw[None], part))[0] for part in parts])


def _folder(file: Path, key: str) -> Path:
    """Return the hidden folder of the strips; those of another model or image are removed."""
    beginning, ending = f".{file.name}.", ".unfinished"
    folder = file.with_name(f"{beginning}{key[:16]}{ending}")
    for other in file.parent.glob(".*") if file.parent.exists() else ():
        if other.name.startswith(beginning) and other.name.endswith(ending) and other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def _joined(strips: list[Path], head: Head, folder: Path) -> NDArray[np.generic]:
    """Return the mask (h, w): a byte per pixel, or two for ids above 255."""
    with guard(folder, "the strips of a mask", "delete this folder and repeat the command"):
        mask = np.concatenate([np.load(strip) for strip in strips])
        if mask.shape != (head.height, head.width):
            raise ValueError(f"they have {mask.shape[0]}x{mask.shape[1]} pixels")
    return mask
