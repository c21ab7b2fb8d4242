"""How images of any size are read: a few at once, or strip after strip."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.runs.store import parts, parts_of


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([(1, 1), (4, 6), (6, 4), (30, 5)]), max_size=12),
    st.integers(1, 80),
    st.sampled_from([None, 1, 3]),
    st.integers(0, 2),
)
def test_parts_cover_every_row_of_every_image_once(
    sizes: list[tuple[int, int]], pixels: int, most: int | None, halo: int
) -> None:
    made = list(parts_of(sizes, range(len(sizes)), pixels=pixels, most=most, halo=halo))
    rows = [(image, row) for part in made for image in part.images for row in range(part.top, part.bottom)]
    if most == 1 or all(part.strip is None for part in made):
        assert rows == [(image, row) for image, (height, _) in enumerate(sizes) for row in range(height)]
    assert sorted(rows) == [(image, row) for image, (height, _) in enumerate(sizes) for row in range(height)]
    for part in made:
        height, width = part.size
        assert {sizes[image] for image in part.images} == {part.size}
        assert len(part.images) <= (most or len(sizes))
        assert (part.first, part.last) == (max(0, part.top - part.halo), min(height, part.bottom + part.halo))
        assert (part.first + part.inside.start, part.first + part.inside.stop) == (part.top, part.bottom)
        assert (part.strip is None) == (height * width <= pixels or part.bottom - part.top == height)
        read = len(part.images) * (part.last - part.first) * width
        assert read <= max(pixels, (max(halo, 1) + 2 * halo) * width)


@pytest.mark.parametrize(("images", "expected"), [([0, 2, 3], [[0], [2, 3]]), ([], []), ([4], [[4]])])
def test_only_the_chosen_images_are_read(images: list[int], expected: list[list[int]]) -> None:
    sizes = [(2, 2), (2, 2), (3, 2), (3, 2), (2, 2)]
    assert [list(part.images) for part in parts_of(sizes, images, pixels=100)] == expected


def test_the_example_runs() -> None:
    assert doctest.testmod(parts).attempted > doctest.testmod(parts).failed == 0
