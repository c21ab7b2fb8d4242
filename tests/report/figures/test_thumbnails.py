"""The pictures of single images have the documented colours and sizes."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ensemble.core.palette import class_colours
from ensemble.report.figures.thumbnails import SIDE, class_map, error_map, heat_map_picture, photograph


def decoded(png: str) -> np.ndarray[Any, Any]:
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    assert picture.mode == "P"
    return np.asarray(picture.convert("RGBA"))


LABELS = np.array([[0, 1, 255], [1, 0, 255]], np.uint8)


DECIDED = np.array([[0, 0, 1], [1, 0, 0]], np.uint8)


def test_class_maps_have_the_classes_colours_and_void_is_not_covered() -> None:
    colours = class_colours(range(2))
    rgba = decoded(class_map(LABELS, LABELS, 2))
    assert rgba[..., 3].tolist() == [[255, 255, 0], [255, 255, 0]]
    np.testing.assert_array_equal(rgba[:, :2, :3], colours[LABELS[:, :2]])
    rgba = decoded(class_map(DECIDED, LABELS, 2))
    np.testing.assert_array_equal(rgba[..., :3], colours[DECIDED])
    assert rgba[..., 3].tolist() == [[255, 255, 80], [255, 255, 80]]  # pale where nothing is labelled
    many = np.arange(200, dtype=np.uint8).reshape(10, 20)
    content = Image.open(io.BytesIO(base64.b64decode(class_map(many, many, 200))))
    np.testing.assert_array_equal(np.asarray(content.convert("RGB")), class_colours(range(200))[many])


def test_errors_are_white_and_void_is_dark() -> None:
    rgba = decoded(error_map(DECIDED, LABELS))
    assert rgba[0].tolist() == [[0, 0, 0, 150], [255, 255, 255, 255], [0, 0, 0, 230]]


def test_uncertainty_grows_from_dark_to_yellow() -> None:
    rgba = decoded(heat_map_picture(np.linspace(0, 1, 64).reshape(1, 64), 1.0)).astype(int)
    brightness = rgba[0, :, :3].sum(-1)
    assert (np.diff(brightness) >= 0).all()
    assert len(np.unique(brightness)) == 16
    assert rgba[0, -1, :3].tolist() == pytest.approx([254, 232, 56], abs=2)


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_photographs_are_small_stretched_and_indexed(bands: int) -> None:
    image = np.linspace(0.2, 0.4, 300 * 600, dtype=np.float32).reshape(300, 600, 1).repeat(bands, 2)
    rgba = decoded(photograph(image))
    assert rgba.shape == (SIDE // 2, SIDE, 4)
    assert rgba[0, 0, :3].tolist() == pytest.approx([0, 0, 0], abs=4)
    assert rgba[-1, -1, :3].tolist() == pytest.approx([255] * 3, abs=4)
    assert decoded(photograph(np.zeros((4, 4, bands), np.uint8)))[..., :3].max() == 0
