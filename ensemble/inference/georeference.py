"""GeoTIFF: coordinate system and transform of an image, carried over to its prediction by rasterio (extra ``geo``)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.data.formats.gdal import rasterio
from ensemble.data.formats.image_files import image_header

_GEO_TAGS = (33550, 33922, 34264, 34735)  # pixel scale, tie points, transformation, keys of the coordinate system
MISSING = (
    "the georeference of {count} GeoTIFF{s} is not carried over, because rasterio is not installed; install it with"
    " pip install 'ens-toolkit[geo]' and predict again"
)


class GeoReference(NamedTuple):
    """Where an image lies: its coordinate system, and the affine transform from pixels to coordinates."""

    crs: Any
    transform: Any


def is_geotiff(path: Path) -> bool:
    """Return whether a file is a TIFF with tags of a georeference; rasterio is not needed for that."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        with tifffile.TiffFile(path) as file:
            return any(tag in file.pages.first.tags for tag in _GEO_TAGS)
    except Exception:  # whatever a damaged file raises, reading the image explains it
        return False


def read_georeference(path: Path) -> GeoReference:
    """Return coordinate system and transform of a GeoTIFF.

    Raises:
        EnsError: rasterio cannot read them, or the image is turned by its orientation tag.
    """
    library = rasterio()
    assert library is not None, "asked only where rasterio is installed"
    if image_header(path).orientation != 1:
        raise EnsError(
            f"{path} is turned by its orientation tag, which its georeference does not describe; write it again without"
            " that tag"
        )
    try:
        with library.open(path) as source:
            return GeoReference(source.crs, source.transform)
    except library.errors.RasterioError as error:
        raise EnsError(f"{path} cannot be read as a GeoTIFF ({error}); write it again") from error


def tiff_content(
    bands_chw: NDArray[np.generic],
    description: str,
    *,
    names: Sequence[str] = (),
    palette: NDArray[np.uint8] | None = None,
    geo: GeoReference | None = None,
) -> bytes:
    """Return a TIFF file, without loss and with all bands.

    Args:
        bands_chw: bands (c, h, w).
        description: text of its tag ImageDescription.
        names: name of each band; only a GeoTIFF has a place for them.
        palette: RGB colours (256, 3) in which viewers show one band of uint8.
        geo: where the image lies; None for a TIFF without a georeference.
    """
    if geo is None:
        return _plain_tiff(bands_chw, description, palette)
    library = rasterio()
    assert library is not None, "no georeference is read without rasterio"
    count, height, width = bands_chw.shape
    shape: dict[str, Any] = {"count": count, "height": height, "width": width, "dtype": bands_chw.dtype.name}
    place = {"crs": geo.crs, "transform": geo.transform, "compress": "deflate"}
    with warnings.catch_warnings(), library.MemoryFile() as memory:
        warnings.simplefilter("ignore", library.errors.NotGeoreferencedWarning)  # a transform may be the identity
        with memory.open(driver="GTiff", **shape, **place) as file:
            if palette is not None:
                file.write_colormap(1, {value: tuple(colour) for value, colour in enumerate(palette.tolist())})
            file.update_tags(TIFFTAG_IMAGEDESCRIPTION=description)
            for band, name in enumerate(names, 1):
                file.set_band_description(band, name)
            file.write(bands_chw)
        return bytes(memory.read())


def _plain_tiff(bands_chw: NDArray[np.generic], description: str, palette: NDArray[np.uint8] | None) -> bytes:
    content = io.BytesIO()
    options: dict[str, Any] = {"compression": "zlib", "description": description, "metadata": None}
    if palette is not None:
        colours = palette.T.astype(np.uint16) * 257
        tifffile.imwrite(content, bands_chw[0], photometric="palette", colormap=colours, **options)
    else:
        layout: dict[str, Any] = {"planarconfig": "separate"} if len(bands_chw) > 1 else {}
        pixels = bands_chw if len(bands_chw) > 1 else bands_chw[0]
        tifffile.imwrite(content, pixels, photometric="minisblack", **layout, **options)
    return content.getvalue()
