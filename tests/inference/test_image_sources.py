"""Images to predict are read as those of the training data: turned, checked, and what is left out is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from ensemble.core.errors import EnsError
from ensemble.inference.image_sources import open_images

COLOURS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_predicted_as_a_viewer_shows_it(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture))
    for source in (tmp_path, tmp_path / "a.jpg"):
        np.testing.assert_array_equal(open_images(source).read(0), shown)


def test_files_that_are_left_out_are_named(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.bmp")
    assert list(open_images(tmp_path).notes) == []
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    images = open_images(tmp_path)
    assert list(images.ids) == ["a"]
    assert [note.split(": ")[1] for note in images.notes] == ["1 (b.gif)"]


def test_missing_data_are_refused_with_the_name_of_the_file(tmp_path: Path) -> None:
    pixels = np.full((8, 8), 0.5, np.float32)
    pixels[0] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with pytest.raises(EnsError, match=r"pixels in .*a\.tif, got NaN or infinity at 8 of 64 values"):
        open_images(tmp_path).read(0)


def test_a_damaged_npz_is_refused_before_its_first_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", test_set=np.random.default_rng(0).integers(0, 256, (9, 80, 80), dtype=np.uint8))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[40_000] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(EnsError, match=r"a\.npz cannot be read as an npz file \(Bad CRC-32"):
        open_images(tmp_path / "a.npz")
