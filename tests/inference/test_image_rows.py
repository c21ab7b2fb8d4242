"""Rows of an image: the same pixels, checks and sentences as of the whole image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from ensemble.core.errors import EnsError
from ensemble.core.progress import no_progress
from ensemble.data.description import read_description
from ensemble.data.formats.image_files import read_image
from ensemble.data.formats.pixels import BYTES, UNIT, Span, to_unit
from ensemble.inference import image_rows
from ensemble.inference.image_rows import open_rows
from ensemble.inference.image_sources import ImageFiles
from ensemble.inference.open_images import open_images

NOISE = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_rows, "BLOCK", 10)


def tiff(folder: Path, array: Any, mark: float | None = None, **options: Any) -> ImageFiles:
    tags = [] if mark is None else [(42113, "s", 0, f"{mark:g}", True)]
    tifffile.imwrite(folder / "image.tif", array, extratags=tags, **options)
    return ImageFiles(["image"], [folder / "image.tif"])


def rows(images: Any, span: Span, bands: int = 1, height: int = 50) -> tuple[Any, float]:
    read, highest = open_rows(images, 0).checked(height, bands, span, no_progress)
    return np.concatenate([read(0, 7), read(7, height)]), highest


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_pixels_without_data_get_the_mean_of_the_others(tmp_path: Path, dtype: str) -> None:
    array = NOISE.integers(1, 200, (50, 30, 2)).astype(dtype)
    array[:23], array[40, 5:9] = 0, 0
    array[30, 3, 0] = 0  # only one band: it has data
    images = tiff(tmp_path, array, 0, planarconfig="contig", photometric="minisblack")
    span = (0.0, 65535.0) if dtype == "uint16" else BYTES
    found, highest = rows(images, span, bands=2)
    np.testing.assert_array_equal(found, to_unit(read_image(tmp_path / "image.tif"), span, "it"))
    assert highest == array.max()


def test_a_turned_image_is_read_as_it_is_shown(tmp_path: Path) -> None:
    array = NOISE.integers(0, 256, (30, 50), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", array, extratags=[(274, "H", 1, 6, True)])
    images = ImageFiles(["image"], [tmp_path / "image.tif"])
    np.testing.assert_array_equal(rows(images, BYTES)[0], read_image(tmp_path / "image.tif"))


def test_chosen_bands_and_the_mark_of_a_description(tmp_path: Path) -> None:
    array = NOISE.integers(1, 200, (50, 30, 4), dtype=np.uint8)
    array[10:20] = 7
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", array, planarconfig="contig", photometric="minisblack")
    tifffile.imwrite(tmp_path / "masks" / "a.tif", array[..., 0] % 2)
    file = tmp_path / "data.toml"
    file.write_text('bands = [4, 1]\nno_data = 7\n[train]\nimages = "images/{id}.tif"\nmasks = "masks/{id}.tif"\n')
    assert read_description(file).no_data == 7
    images = open_images(file)
    np.testing.assert_array_equal(rows(images, BYTES, bands=2)[0], images.read(0))


def fractions(low: float, high: float) -> Any:
    return NOISE.uniform(low, high, (50, 30)).astype(np.float32)


def test_units_are_judged_by_the_whole_image(tmp_path: Path) -> None:
    array = fractions(0, 255)
    array[:20] = fractions(0, 1)[:20]  # a dark part, which alone would be refused
    np.testing.assert_array_equal(
        rows(tiff(tmp_path, array), BYTES)[0], to_unit(array[..., None], BYTES, "the whole image")
    )


@pytest.mark.parametrize(
    ("array", "mark", "span", "text"),
    [
        (fractions(0, 1), None, BYTES, r"expected pixels in the units of the training images, 0 to 255, got float32"),
        (fractions(0, 9000), None, UNIT, r"expected pixels in the units of the training images, 0 to 1, got float32"),
        (np.where(fractions(0, 1) > 0.99, np.nan, fractions(0, 1)), None, UNIT, "expected finite numbers as pixels"),
        (np.where(fractions(0, 1) > 0.9, -9999, fractions(0, 1)), None, UNIT, "looks like a mark of missing data"),
        (np.full((50, 30), 5, np.float32), 5, UNIT, r"has no pixel with data \(all are 5\); leave this image out"),
    ],
)
def test_pixels_that_do_not_fit_are_refused(
    tmp_path: Path, array: Any, mark: float | None, span: Span, text: str
) -> None:
    with pytest.raises(EnsError, match=text):
        rows(tiff(tmp_path, array.astype(np.float32), mark), span)
