"""Images of an npz file are read one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.core.errors import EnsError
from ensemble.data.formats.npz_stack import NpzStack

Arrays = dict[str, Any]


def read_all(images: NpzStack) -> None:
    for row in range(len(images.ids)):
        images.read(row)


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
    assert NpzStack.open(tmp_path / "a.npz", "test_set").key == "x"


@pytest.mark.parametrize(
    ("arrays_of", "text"),
    [
        ({"training_set": np.zeros((2, 2, 4, 6))}, r"expected the key 'test_set' \(M, H, W\) .* found training_set"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "found a, b"),
        ({"test_set": np.zeros((4, 6))}, r"as a C-ordered stack of images \(M, H, W\), got the shape \(4, 6\)"),
        ({"test_set": np.asfortranarray(np.zeros((3, 4, 6)))}, "got columns first"),
        ({"test_set": np.array([[[None]]], object)}, "got Python objects"),
    ],
)
def test_what_is_no_stack_is_refused(tmp_path: Path, arrays_of: Arrays, text: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays_of)
    with pytest.raises(EnsError, match=text):
        NpzStack.open(tmp_path / "a.npz", "test_set")


def test_a_stack_that_is_damaged_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, test_set=np.random.default_rng(0).integers(0, 256, (50, 20, 20), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[10_000] ^= 1
    path.write_bytes(content)
    images = NpzStack.open(path, "test_set")
    with pytest.raises(EnsError, match=r"a\.npz is damaged .*CRC.*; copy or write it again"):
        read_all(images)
