"""Images to predict are read as those of the training data: turned, checked, and what is left out is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from ensemble.core.errors import EnsError
from ensemble.inference.open_images import open_images

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


def test_the_test_part_of_a_known_layout_is_read(tmp_path: Path) -> None:
    """nnU-Net's layout has the bands of an image in several files; masks are no images to predict."""
    for folder, count in (("imagesTr", 2), ("imagesTs", 3)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            for band in range(2):
                pixels = np.full((32, 40), 10 * number + band, np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / f"case{number}_{band:04d}.png")
    (tmp_path / "labelsTr").mkdir()
    for number in range(2):
        Image.fromarray(np.eye(32, 40, dtype=np.uint8)).save(tmp_path / "labelsTr" / f"case{number}.png")
    labels = {"background": 0, "thing": 1}
    content = {"channel_names": {"0": "a", "1": "b"}, "labels": labels, "numTraining": 2, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    images = open_images(tmp_path)
    assert list(images.ids) == ["case0", "case1", "case2"]
    assert images.read(2).shape == (32, 40, 2)
    assert images.read(2)[0, 0].tolist() == [20, 21]
    assert images.head(2)[:3] == (32, 40, 2)


def test_labelled_images_are_read_where_there_is_no_test_part(tmp_path: Path) -> None:
    for folder in ("Images", "Labels"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            Image.fromarray(np.eye(32, dtype=np.uint8)).save(tmp_path / folder / f"{number}.png")
    images = open_images(tmp_path)
    assert [path.parent.name for path in images.files or ()] == ["Images"] * 3
    assert "has no test images, so its 3 labelled images are predicted" in images.notes[0]
    text = '[train]\nimages = "Images/{id}.*"\nmasks = "Labels/{id}.*"\n[test]\nimages = "Labels/{id}.*"\n'
    (tmp_path / "data.toml").write_text(text)
    described = open_images(tmp_path / "data.toml")
    assert [path.parent.name for path in described.files or ()] == ["Labels"] * 3
    assert not described.notes


def test_test_arrays_of_an_npz_are_read(tmp_path: Path) -> None:
    images = np.arange(2 * 3 * 32 * 40, dtype=np.uint16).reshape(2, 3, 32, 40)
    path = tmp_path / "data.npz"
    np.savez(path, x_train=images, y_train=np.zeros((2, 32, 40)), x_test=images + 1)
    stack = open_images(path)
    assert np.array_equal(stack.read(1), np.moveaxis(images[1] + 1, 0, -1))
    assert stack.head(0) == (32, 40, 3, "uint16")
    np.savez(path, X=images, y=np.zeros((2, 32, 40)))
    assert "so those of 'X' are predicted" in open_images(path).notes[0]
    np.savez(path, x_test=images[:, 0], ids=np.arange(2))
    assert np.array_equal(open_images(path).read(1)[..., 0], images[1, 0])
    np.savez(path, test_set=images[:, 0], x_test=images)
    assert open_images(path).read(0).shape == (32, 40, 1)
