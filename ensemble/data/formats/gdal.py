"""Read TIFF by rasterio (extra ``geo``), whose library GDAL knows all compressions, where it is installed."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def rasterio() -> Any | None:
    """Return the package rasterio, or None if it is not installed."""
    try:
        return importlib.import_module("rasterio")
    except ImportError:
        return None


def read_bands_first(
    path: Path, shape_chw: tuple[int, int, int], dtype: np.dtype[Any], rows: tuple[int, int] | None = None
) -> NDArray[Any] | None:
    """Return the bands of a TIFF as they are stored (c, h, w), or None if rasterio is not there or gives other ones.

    Args:
        path: the file.
        shape_chw: bands, height and width that its header names.
        dtype: type that its header names.
        rows: first row and row after the last one; None for all.

    Raises:
        ValueError: the file is damaged.
    """
    library = rasterio()
    if library is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", library.errors.NotGeoreferencedWarning)
            with library.open(path, driver="GTiff") as source:
                if (source.count, source.height, source.width) != shape_chw or set(source.dtypes) != {dtype.name}:
                    return None
                return source.read(window=None if rows is None else (rows, (0, source.width)))
    except library.errors.RasterioError as error:
        raise ValueError(str(error) or "its pixels are damaged") from None
