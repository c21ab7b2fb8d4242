"""Batches of one size hold every image once, in order, within both limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ensemble.core.equal_sizes import equal_sizes

SIDES = st.integers(1, 3)


@given(sizes=st.lists(st.tuples(SIDES, SIDES), max_size=20), most=st.integers(1, 5), pixels=st.integers(1, 20))
def test_batches_hold_every_image_once_within_the_limits(sizes: list[tuple[int, int]], most: int, pixels: int) -> None:
    batches = list(equal_sizes(sizes, most, pixels))
    assert [row for batch in batches for row in batch] == list(range(len(sizes)))
    for batch in batches:
        (size,) = {sizes[row] for row in batch}
        assert len(batch) <= most
        assert len(batch) == 1 or len(batch) * size[0] * size[1] <= pixels
