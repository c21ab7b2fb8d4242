"""Raw pixels become numbers from 0 to 1, raw masks become class ids; everything else is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.data.formats.pixels import pixel_span, to_ids, to_unit


def test_bytes_stay_bytes() -> None:
    grey = np.arange(6, dtype=np.uint8)
    assert to_unit(grey, pixel_span(0, 5, grey.dtype), "x") is grey


def test_other_numbers_are_scaled_by_what_they_span() -> None:
    raw = np.array([-2.0, 0.0, 6.0])
    assert to_unit(raw, pixel_span(-2, 6, raw.dtype), "x").tolist() == [0, 0.25, 1]


@pytest.mark.parametrize(
    ("pixels", "span", "text"),
    [
        (np.array([0.0, np.nan]), (0, 1), "expected finite numbers as pixels in test, got float64"),
        (np.array([np.inf]), (0, 255), "expected finite numbers"),
        (np.array(["a"]), (0, 255), "expected finite numbers as pixels in test, got <U1"),
        (np.array([0.1, 1.0]), (0, 255), r"units of the training images, 0 to 255, got float64 in 0\.1\.\.1 in test"),
        (
            np.array([7], np.uint8),
            (0, 1),
            r"units of the training images, 0 to 1, got uint8 in 7\.\.7 in test; convert",
        ),
        (np.array([7], np.uint16), (0, 255), "0 to 255, got uint16"),
        (np.array([7], np.uint8), (0, 65535), "0 to 65535, got uint8"),
    ],
)
def test_pixels_in_other_units_are_refused(pixels: NDArray[Any], span: tuple[float, float], text: str) -> None:
    with pytest.raises(EnsError, match=text):
        to_unit(pixels, span, "test")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int64, np.float32, np.bool_])
def test_masks_of_whole_numbers_keep_their_ids(dtype: Any) -> None:
    ids = to_ids(np.array([[0, 1]], dtype), "x")
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("mask", "values"),
    [
        (np.array([0, 0.5, 4]), r"0\.5$"),
        (np.array([0, -1, 3]), "-1$"),
        (np.array([0, 256, 300]), "256, 300$"),
        (np.array([np.nan, 1]), "nan$"),
        (np.array([np.inf, 1]), "inf$"),
    ],
)
def test_mask_values_that_are_no_ids_are_named(mask: NDArray[Any], values: str) -> None:
    with pytest.raises(EnsError, match=rf"whole numbers 0\.\.255 in m, got values such as {values}"):
        to_ids(mask, "m")


def test_text_as_mask_is_refused() -> None:
    with pytest.raises(EnsError, match=r"whole numbers 0\.\.255 in m, got <U1"):
        to_ids(np.array(["a"]), "m")
