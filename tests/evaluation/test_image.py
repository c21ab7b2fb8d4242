"""The maximum over the first axis, as NumPy finds it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.evaluation.image import highest


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16))
def test_highest_is_the_maximum_and_the_first_of_equals(seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 4, (5, 3, 20))  # many equal ones
    top, place = highest(values)
    np.testing.assert_array_equal(top, values.max(0))
    np.testing.assert_array_equal(place, values.argmax(0))
