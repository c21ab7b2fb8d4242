"""Mirrors, turns and zooms: pixels and labels move together, and the world stays as it is where a name says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.void import VOID
from ensemble.data.augmentation.geometry import hflip, rotate90, scale, vflip, zoom
from ensemble.data.augmentation.mixing import Change
from ensemble.data.windows import TrainingImages

NO_DONORS: Any = TrainingImages(None, np.arange(0))  # pyright: ignore[reportArgumentType]


def numbered(images: int = 40, size: tuple[int, int] = (3, 3), bands: int = 2) -> tuple[Any, NDArray[np.uint8]]:
    """Images that are all alike and hold each number once, with labels that are the first band."""
    labels = np.arange(size[0] * size[1], dtype=np.uint8).reshape(1, *size).repeat(images, 0)
    return np.stack([labels + 100 * band for band in range(bands)], -1).astype(np.uint8), labels


def outcomes(change: Change, size: tuple[int, int] = (3, 3)) -> dict[str, int]:
    """How often each picture comes out, after checking that labels move as pixels do."""
    images, labels = numbered(size=size)
    changed, moved = change(images, labels, np.random.default_rng(0), NO_DONORS)
    np.testing.assert_array_equal(changed[..., 0], moved)
    np.testing.assert_array_equal(changed[..., 1], moved + 100)
    found = [str(mask.tolist()) for mask in moved]
    return {picture: found.count(picture) for picture in found}


@pytest.mark.parametrize(
    ("change", "size", "possible"),
    [
        (hflip(), (2, 3), [lambda x: x, np.fliplr]),
        (vflip(), (2, 3), [lambda x: x, np.flipud]),
        (rotate90(), (3, 3), [lambda x, k=k: np.rot90(x, k) for k in range(4)]),
        (rotate90(), (2, 3), [lambda x: x, lambda x: np.rot90(x, 2)]),
    ],
    ids=["hflip", "vflip", "rotate90", "rotate90-wide"],
)
def test_every_picture_is_as_likely_as_the_others(change: Change, size: tuple[int, int], possible: list[Any]) -> None:
    found = outcomes(change, size)
    original = numbered(1, size)[1][0]
    assert found.keys() == {str(one(original).tolist()) for one in possible}
    assert min(found.values()) > 0.5 * 40 / len(possible)


def test_a_part_of_the_image_is_enlarged() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1) * 10
    labels = image[..., 0] // 10
    enlarged, moved = zoom(image, labels, 2.0, np.array([0.0, 1.0]), "void")  # the corner top right
    np.testing.assert_array_equal(moved, np.array([[2, 3], [6, 7]]).repeat(2, 0).repeat(2, 1))
    assert (enlarged[0, 0, 0], enlarged[-1, -1, 0]) == (20, 70)  # corners of a linear interpolation
    assert enlarged[1, 1, 0] == 32  # 32.5: a quarter of the way to the right (+10) and down (+40)


@pytest.mark.parametrize("bands", [1, 3, 7])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_smaller_image_has_void_around_it(bands: int, kind: Any) -> None:
    value = 80 if kind == np.uint8 else 0.25
    image, labels = np.full((8, 12, bands), value, kind), np.full((8, 12), 3, np.uint8)
    smaller, moved = zoom(image, labels, 0.5, np.array([1.0, 0.0]), "void")  # bottom left
    assert (smaller == value).all()  # around it is its mean
    assert smaller.dtype == kind
    expected = np.full((8, 12), VOID, np.uint8)
    expected[4:, :6] = 3
    np.testing.assert_array_equal(moved, expected)


def test_a_mirrored_border_has_labels() -> None:
    labels = np.array([[1, 2]], np.uint8).repeat(4, 0).repeat(2, 1)  # 1 1 2 2
    image = 10 * labels[..., None]
    smaller, moved = zoom(image, labels, 0.5, np.array([0.0, 0.5]), "mirror")
    assert moved[0].tolist() == [1, 1, 2, 2]
    np.testing.assert_array_equal(smaller[..., 0], 10 * moved)


def test_factors_stay_within_their_limits_and_reach_both_sides() -> None:
    images, labels = np.zeros((60, 40, 40, 1), np.uint8), np.ones((60, 40, 40), np.uint8)
    _, moved = scale(low=0.5, high=2.0)(images, labels, np.random.default_rng(0), NO_DONORS)
    shares = (moved == 1).mean((1, 2))
    assert shares.min() >= 0.25
    assert (shares < 0.9).sum() > 15
    assert (shares == 1).sum() > 15  # those that were enlarged
    _, same = scale(low=1, high=1)(images, labels, np.random.default_rng(0), NO_DONORS)
    assert (same == 1).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"low": 0.1}, "expected 0.25 <= low <= high <= 4 for 'scale', got low=0.1, high=1.5; change them"),
        ({"low": 2.0}, "got low=2, high=1.5"),
        ({"high": 9.0}, "got low=0.75, high=9"),
        ({"border": "black"}, "expected border=void or mirror for 'scale', got border=black; change it"),
    ],
)
def test_mistakes_are_reported(options: dict[str, Any], text: str) -> None:
    with pytest.raises(EnsError) as caught:
        scale(**options)
    assert text in str(caught.value)
