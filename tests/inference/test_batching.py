"""Batches by images and by pixels, and which images are tiled."""

from __future__ import annotations

import pytest

from ensemble.inference.batching import batches, is_tiled, largest_batch


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(64, 128)] * 70, [32, 32, 6]),
        ([(1024, 1024)] * 5, [4, 1]),
        ([(5000, 5000)] * 2, [1, 1]),
        ([(8, 8), (8, 9), (8, 9), (8, 8)], [1, 2, 1]),
        ([], []),
    ],
)
def test_batches_have_one_size_and_a_bounded_number_of_pixels(
    sizes: list[tuple[int, int]], expected: list[int]
) -> None:
    found = list(batches(sizes))
    assert [len(batch) for batch in found] == expected
    assert [number for batch in found for number in batch] == list(range(len(sizes)))


def test_a_batch_may_be_asked_to_be_smaller() -> None:
    assert [len(batch) for batch in batches([(8, 8)] * 7, batch=3)] == [3, 3, 1]


def test_large_images_are_tiled() -> None:
    assert not is_tiled((1024, 1024))
    assert is_tiled((1024, 1025))


@pytest.mark.parametrize(
    ("sizes", "pixels"),
    [
        ([(8, 8)] * 40, 32 * 64),
        ([(8, 8)] * 3, 3 * 64),
        ([(8, 8), (1024, 1024)], 2 << 20),
        ([(9000, 9000)] * 9, 1 << 20),
    ],
)
def test_the_largest_batch(sizes: list[tuple[int, int]], pixels: int) -> None:
    assert largest_batch(sizes) == pixels
