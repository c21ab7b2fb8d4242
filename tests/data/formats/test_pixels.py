"""Raw pixels become numbers from 0 to 1, raw masks become class ids; everything else is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.data.formats.pixels import check_pixels, dark_note, limits_of, pixel_span, to_ids, to_unit


def span_of(*images: NDArray[Any]) -> tuple[float, float]:
    return pixel_span({f"i{n}": limits_of(image) for n, image in enumerate(images)}, images[0].dtype)


def test_bytes_stay_bytes() -> None:
    grey = np.arange(6, dtype=np.uint8)
    assert to_unit(grey, span_of(grey), "x") is grey


def test_other_numbers_are_scaled_by_what_they_span() -> None:
    raw = np.array([-2.0, 0.0, 6.0])
    assert to_unit(raw, span_of(raw), "x").tolist() == [0, 0.25, 1]


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


# ---------------------------------------------------------------- one unit for a set of images


@pytest.mark.parametrize(
    ("images", "span"),
    [
        ([[0.0, 1.0]], (0, 1)),
        ([[0.1, 0.6], [0.2, 1.32]], (0, 1)),  # reflectance of snow
        ([[0.1, 0.6], [0.2, 2.44]], (0.1, 2.44)),
        ([[0.0, 200.0], [0.0, 1.0]], (0, 255)),  # bytes that were stored as floats, one image almost black
        ([[0.0, 80.5], [0.0, 0.9]], (0, 80.5)),  # millimetres of rain, on a dry day too
        ([[-0.5, 0.5]], (-0.5, 0.5)),
        ([[300.0, 300.0]], (300, 301)),
        ([[0.0, 1000.0]], (0, 1000)),
    ],
)
def test_all_images_together_decide_the_unit(images: list[list[float]], span: tuple[float, float]) -> None:
    arrays = [np.array(image) for image in images]
    found = span_of(*arrays)
    assert found == pytest.approx(span)
    for array in arrays:  # no image of the set is refused afterwards
        assert np.isfinite(to_unit(array, found, "x")).all()


def test_bytes_and_fractions_are_not_mixed() -> None:
    images = [np.array([0.0, 200.0]), np.array([0.0, 0.7]), np.array([3.0, 90.0])]
    with pytest.raises(EnsError, match="whole numbers up to 255 in 2 images, such as i0, but fractions up to 1 in 1,"):
        span_of(*images)


@pytest.mark.parametrize("pixels", [[-9999.0, 0.2], [0.1, 255.0]])
def test_pixels_far_outside_of_the_span_are_in_other_units(pixels: list[float]) -> None:
    with pytest.raises(EnsError, match="in the units of the training images, 0 to 1, got float64"):
        to_unit(np.array(pixels), (0, 1), "x")
    assert to_unit(np.array([-3.0, 4.0]), (0, 1), "x").tolist() == [-3, 4]


# ---------------------------------------------------------------- marks of missing data


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (np.array([0.5, np.nan]), "finite numbers as pixels in x, got NaN or infinity at 1 of 2 values; fill them"),
        (np.array([-np.inf, np.inf]), "NaN or infinity at 2 of 2"),
        (np.array([-9999, 0.1, 1.7]), "x holds 1 values of -9999, which looks like a mark of missing data"),
        (np.array([-32768, -32768, 900, 3000], np.int16), "2 values of -32768"),
        (np.array([np.finfo(np.float32).min, 0], np.float32), r"1 values of -3\.40282e\+38"),
        (np.array([np.finfo(np.float32).max, 0], np.float32), r"1 values of 3\.40282e\+38"),
        (np.full(4, -9999.0), "4 values of -9999"),
        (np.array([1j]), "expected numbers as pixels in x, got complex128"),
    ],
)
def test_missing_data_are_refused(pixels: NDArray[Any], text: str) -> None:
    with pytest.raises(EnsError, match=text):
        check_pixels(pixels, "x")


def test_a_tag_for_missing_data_is_recommended_for_tiff_files_only() -> None:
    marked = np.array([-9999, 0.1, 1.7])
    with pytest.raises(EnsError, match=r"fill them, or leave that image out$"):
        check_pixels(marked, "image 3 of training_set")
    with pytest.raises(EnsError, match=r"or write the mark into the TIFF tag GDAL_NODATA"):
        check_pixels(marked, "street/images/a.TIF")


@pytest.mark.parametrize(
    "pixels",
    [
        np.array([-9999.0, -5000.0, 8000.0]),  # a value among others
        np.linspace(-32768, 32767, 99).astype(np.int16),
        np.array([0, 255], np.uint8),
        np.zeros((0, 2)),
    ],
)
def test_values_among_others_are_no_mark(pixels: NDArray[Any]) -> None:
    check_pixels(pixels, "x")


def test_the_mask_with_a_wrong_value_is_numbered() -> None:
    masks = np.zeros((3, 2, 2))
    masks[2, 0, 0] = 0.5
    with pytest.raises(EnsError, match=r"in m \(row 2\), got values such as 0\.5"):
        to_ids(masks, "m")


@pytest.mark.parametrize(
    ("highest", "span", "start"),
    [
        (1, (0.0, 255.0), "no pixel of the images is above 1, but 1 is nearly black for this model (0 to 255);"),
        (0, (0.0, 255.0), "no pixel of the images is above 0, but 1 is nearly black"),
        (
            250,
            (0.0, 65535.0),
            "no pixel of the images is above 250, but 255 is nearly black for this model (0 to",
        ),
        (2, (0.0, 255.0), None),
        (256, (0.0, 65535.0), None),
        (1, (0.0, 1.0), None),
        (1, (0.0, 9000.0), None),
    ],
)
def test_images_that_are_dark_throughout_may_have_other_units(
    highest: float, span: tuple[float, float], start: str | None
) -> None:
    note = dark_note(highest, span)
    assert note is None if start is None else note is not None and note.startswith(start)
