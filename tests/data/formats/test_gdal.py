"""GeoTIFF of every compression, interleaving and type against rasterio: all bands, or a refusal without rasterio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.data.formats import gdal
from ensemble.data.formats.image_files import image_header, read_image, read_mask, read_no_data

RANDOM = np.random.default_rng(0)
SIZE = (50, 70)


def write(path: Path, bands_chw: NDArray[Any], **options: Any) -> Path:
    shape = {"count": len(bands_chw), "height": bands_chw.shape[1], "width": bands_chw.shape[2]}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_600_000)}
    with rasterio.open(path, "w", driver="GTiff", dtype=bands_chw.dtype.name, **place, **shape, **options) as file:
        file.write(bands_chw)
    return path


def reference(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as file:
        return np.moveaxis(file.read(), 0, -1)


def scene(dtype: str, bands: int) -> NDArray[Any]:
    values = RANDOM.normal(120, 30, (bands, *SIZE)) * (200 if dtype == "uint16" else 1)
    return values.astype(dtype)


KINDS = [
    (compress, interleave, tiled)
    for compress in ("none", "lzw", "deflate", "zstd", "lerc", "packbits", "jpeg")
    for interleave in ("pixel", "band")
    for tiled in (False, True)
]


def cases_of(compress: str, interleave: str, tiled: bool) -> Iterator[tuple[NDArray[Any], dict[str, Any]]]:
    """Yield bands and options of all types and numbers of bands that are written with a compression."""
    options: dict[str, Any] = {"compress": compress, "interleave": interleave}
    options |= {"tiled": True, "blockxsize": 32, "blockysize": 32} if tiled else {}
    for dtype in ("uint8",) if compress == "jpeg" else ("uint8", "uint16", "int16", "float32"):
        for bands in (1, 3) if compress == "jpeg" else (1, 3, 4, 6):
            yield scene(dtype, bands), options
            if compress in ("lzw", "deflate", "zstd"):
                yield scene(dtype, bands), options | {"predictor": 3 if dtype == "float32" else 2}


@pytest.mark.parametrize(("compress", "interleave", "tiled"), KINDS)
def test_all_bands_are_read(compress: str, interleave: str, tiled: bool, tmp_path: Path) -> None:
    for bands_chw, options in cases_of(compress, interleave, tiled):
        path = write(tmp_path / "a.tif", bands_chw, **options)
        found = read_image(path)
        np.testing.assert_array_equal(found, reference(path))
        assert (found.dtype, image_header(path).bands) == (bands_chw.dtype, len(bands_chw))


@pytest.mark.parametrize(("compress", "interleave", "tiled"), KINDS)
def test_without_rasterio_all_bands_are_read_or_none(
    compress: str, interleave: str, tiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gdal, "rasterio", lambda: None)
    right = 0
    for bands_chw, options in cases_of(compress, interleave, tiled):
        path = write(tmp_path / "a.tif", bands_chw, **options)
        try:
            found = read_image(path)
        except EnsError as error:
            right += "install it (pip install 'ens-toolkit[geo]')" in str(error)
        else:
            right += np.array_equal(found, reference(path))
    assert right == len(list(cases_of(compress, interleave, tiled)))


def test_a_palette_and_missing_data_are_read_as_without_compression(tmp_path: Path) -> None:
    ids = RANDOM.integers(0, 4, (1, *SIZE), dtype=np.uint8)
    path = write(tmp_path / "mask.tif", ids, compress="zstd")
    np.testing.assert_array_equal(read_mask(path), ids[0])
    heights = scene("float32", 1)
    heights[0, :5] = -9999
    packed = write(tmp_path / "zstd.tif", heights, compress="zstd", nodata=-9999)
    plain = write(tmp_path / "plain.tif", heights, nodata=-9999)
    np.testing.assert_array_equal(read_image(packed), read_image(plain))
    assert read_no_data(packed)[:5].all()
    assert read_no_data(packed).sum() == 5 * SIZE[1]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", scene("uint16", 6), compress="zstd")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(EnsError, match=r"a\.tif cannot be read as an image"):
        read_image(path)


@pytest.mark.parametrize("compress", ["jpeg", "webp"])
def test_masks_with_lossy_compression_are_refused(compress: str, tmp_path: Path) -> None:
    path = write(tmp_path / "mask.tif", RANDOM.integers(0, 4, (3, *SIZE), dtype=np.uint8), compress=compress)
    with pytest.raises(EnsError, match="lossy compression"):
        read_mask(path)
