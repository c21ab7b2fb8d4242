"""Run lengths: against pycocotools, and back to the same mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco
from scipy import ndimage

from ensemble.core.errors import EnsError
from ensemble.inference.run_lengths import decode, encode, objects

MASKS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3))


@given(MASKS)
def test_the_runs_of_all_classes_give_the_mask_back(mask: NDArray[np.uint8]) -> None:
    found = np.full(mask.shape, 255, np.uint8)
    for value, text in encode(mask).items():
        found[decode(text, mask.shape)] = value
    np.testing.assert_array_equal(found, mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools itself
@given(MASKS)
def test_pycocotools_reads_the_same_pixels(mask: NDArray[np.uint8]) -> None:
    tools: Any = coco
    for value, text in encode(mask).items():
        starts, lengths = np.array(text.split(), int).reshape(-1, 2).T
        ends = np.stack([starts - 1, starts - 1 + lengths], axis=1).ravel()
        counts = np.diff(np.concatenate([[0], ends, [mask.size]]))  # of 0 and 1 in turn, from the first pixel on
        compressed = tools.frPyObjects({"counts": counts.tolist(), "size": list(mask.shape)}, *mask.shape)
        np.testing.assert_array_equal(tools.decode(compressed), mask == value)


@given(MASKS)
def test_objects_are_the_connected_pixels_of_each_class(mask: NDArray[np.uint8]) -> None:
    tools: Any = ndimage
    corners = np.ones((3, 3))
    found = np.zeros(mask.shape, np.uint8)
    for value, text in objects(mask, [1, 2, 3]):
        pixels = decode(text, mask.shape)
        assert not found[pixels].any()
        assert tools.label(pixels, corners)[1] == 1
        found[pixels] = value
    np.testing.assert_array_equal(found, mask)
    assert len(objects(mask, [1, 2, 3])) == sum(tools.label(mask == value, corners)[1] for value in (1, 2, 3))


def test_the_example_of_competitions() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[1:3, 1:3] = 7
    assert encode(mask)[7] == "6 2 10 2"
    assert encode(np.zeros((0, 3), np.uint8)) == {}


@pytest.mark.parametrize("text", ["1", "0 3", "15 3", "a b", "3 0", "1 -2"])
def test_runs_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(EnsError, match="expected pairs of start and length within 4x4 pixels, counted from 1, got"):
        decode(text, (4, 4))
