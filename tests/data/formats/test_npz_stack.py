"""Images of an npz file are read one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.core.errors import EnsError
from ensemble.data.formats.npz_stack import NpzStack

Arrays = dict[str, Any]


@pytest.mark.parametrize("shape", [(5, 4, 6), (5, 4, 6, 3)])
def test_a_stack_is_read_row_by_row(tmp_path: Path, shape: tuple[int, ...]) -> None:
    stack = np.random.default_rng(0).normal(size=shape)
    np.savez_compressed(tmp_path / "a.npz", training_set=np.zeros((2, 2, 4, 6)), test_set=stack)
    images = NpzStack.open(tmp_path / "a.npz", "test_set")
    assert images.ids == ["0", "1", "2", "3", "4"]
    for row in (0, 1, 3, 4, 2, 2):  # forwards, leaving one out, and back again
        np.testing.assert_array_equal(images.read(row), stack[row].reshape(4, 6, -1))


def test_the_only_array_of_a_file_is_the_stack(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 4, 6), np.uint8))
    assert NpzStack.open(tmp_path / "a.npz", "test_set").entry.key == "x"


@pytest.mark.parametrize(
    ("arrays_of", "text"),
    [
        ({"training_set": np.zeros((2, 2, 4, 6))}, r"expected the key 'test_set' \(M, H, W\) .* found training_set"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "found a, b"),
        ({"test_set": np.zeros((4, 6))}, r"as a stack of at most 1000000 images \(M, H, W\), got the shape \(4, 6\)"),
        ({"test_set": np.array([[[None]]], object)}, "holds Python objects under 'test_set'"),
    ],
)
def test_what_is_no_stack_is_refused(tmp_path: Path, arrays_of: Arrays, text: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays_of)
    with pytest.raises(EnsError, match=text):
        NpzStack.open(tmp_path / "a.npz", "test_set")


def test_columns_first_give_the_same_images(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).normal(size=(5, 4, 6))
    np.savez(tmp_path / "a.npz", test_set=np.asfortranarray(stack))
    images = NpzStack.open(tmp_path / "a.npz", "test_set")
    for row in range(5):
        np.testing.assert_array_equal(images.read(row)[..., 0], stack[row])


def test_a_stack_that_is_damaged_is_refused_before_its_first_image(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, test_set=np.random.default_rng(0).integers(0, 256, (50, 20, 20), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[10_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(EnsError, match=r"a\.npz cannot be read as an npz file .*CRC.*; copy or write it again"):
        NpzStack.open(path, "test_set")


def test_an_image_that_is_not_finite_is_named(tmp_path: Path) -> None:
    stack = np.zeros((3, 4, 6))
    stack[1, 0, 0] = np.nan
    np.savez(tmp_path / "a.npz", test_set=stack)
    images = NpzStack.open(tmp_path / "a.npz", "test_set")
    images.read(0)
    with pytest.raises(EnsError, match=r"pixels in image 1 of 'test_set' of .*a\.npz, got NaN"):
        images.read(1)
