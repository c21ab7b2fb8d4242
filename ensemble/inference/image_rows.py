"""Read a large image some rows at a time, with the checks and conversions that whole images get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress
from ensemble.data.formats.image_files import image_header, read_rows
from ensemble.data.formats.pixels import Span, check_pixels, scaled, to_unit
from ensemble.inference.bands import with_bands
from ensemble.inference.image_sources import DescribedFiles, ImageFiles, Images, Measured

BLOCK = 256  # rows that are checked at once
Rows = Callable[[int, int], NDArray[Any]]
"""Returns the rows (rows, w, bands) of an image from a first one to the one after the last."""


@dataclass(frozen=True)
class ImageRows:
    """An image that is read some rows at a time.

    Attributes:
        name: what errors call the image.
        stored: returns rows as they are stored.
        mark: the value of pixels without data, or None.
        chosen: bands that count, from 0; None for all.
    """

    name: str
    stored: Rows
    mark: float | None = None
    chosen: tuple[int, ...] | None = None

    def absent(self, rows_hwc: NDArray[Any]) -> NDArray[np.bool_]:
        """Return at which pixels (h, w) no band has data."""
        assert self.mark is not None
        marked: Any = np.isnan(rows_hwc) if np.isnan(self.mark) else rows_hwc == self.mark
        return marked.all(-1)

    def checked(self, height: int, bands: int, span: Span, progress: Progress) -> tuple[Rows, float]:
        """Read the image once, block by block, and return its rows in 0..1 and its highest pixel.

        Pixels are checked as those of whole images are, but marks of missing data are looked for in each block. Pixels
        without data get the mean of all others, so these are summed.

        Args:
            height: rows of the image.
            bands: bands that the model wants.
            span: raw values that become 0 and 1.
            progress: callback that receives the progress.

        Raises:
            EnsError: the image cannot be read, or its pixels do not fit.
        """
        count, sums_c, extremes = 0, np.zeros(1), list[NDArray[Any]]()
        for first in range(0, height, BLOCK):
            block = self.stored(first, min(first + BLOCK, height))
            present = block.reshape(-1, block.shape[2]) if self.mark is None else block[~self.absent(block)]
            check_pixels(present, self.name)
            if len(present):
                count, sums_c = count + len(present), sums_c + present.sum(0, dtype=np.float64)
                extremes.append(_extremes(present))
            progress("checking", min(first + BLOCK, height), height)
        if not count:
            raise EnsError(f"{self.name} has no pixel with data (all are {self.mark:g}); leave this image out")
        found = np.concatenate(extremes)
        to_unit(found, span, self.name)
        fill_c = sums_c / count

        def read(first: int, end: int) -> NDArray[Any]:
            rows = self.stored(first, end)
            if self.mark is not None:
                rows = rows.copy()
                rows[self.absent(rows)] = fill_c.astype(rows.dtype)
            chosen = rows if self.chosen is None else rows[..., list(self.chosen)]
            return scaled(with_bands(chosen, bands), span)

        return read, float(found.max())


def _extremes(pixels_nc: NDArray[Any]) -> NDArray[Any]:
    """Return the lowest and the highest number, and the first fraction: the numbers by which units are judged."""
    found = [pixels_nc.min(), pixels_nc.max()]
    if pixels_nc.dtype.kind == "f":
        found.extend(pixels_nc[pixels_nc != np.floor(pixels_nc)][:1])
    return np.array(found, pixels_nc.dtype)


def open_rows(images: Images, row: int) -> ImageRows:
    """Return an image of which only the wanted rows are read: an upright TIFF; other files are read as a whole."""
    source, name = images.images if isinstance(images, Measured) else images, images.name(row)
    mark, chosen, path = None, None, None
    if isinstance(source, ImageFiles):
        path = source.files[row]
    elif isinstance(source, DescribedFiles) and len(source.samples[row].images) == 1:
        path, about = source.samples[row].images[0], source.description
        mark, chosen = about.no_data, None if about.bands is None else tuple(band - 1 for band in about.bands)
    if path is not None:
        header = image_header(path)
        if header.kind == "TIFF" and header.orientation == 1:
            return ImageRows(
                name, lambda first, end: read_rows(path, first, end), header.no_data if mark is None else mark, chosen
            )
    whole = images.read(row)
    return ImageRows(name, lambda first, end: whole[first:end])
