"""Another order of the classes is noticed, and named as the channels have to be called."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from ensemble.importing.class_order import order_note

CLASSES = ("soil", "rock", "sand")
RIGHT = np.array([[80, 10, 10], [5, 40, 5], [0, 10, 90]])


@pytest.mark.parametrize("channels", list(permutations(range(3))))
def test_the_order_is_that_of_the_channels(channels: tuple[int, ...]) -> None:
    note = order_note(RIGHT[:, list(channels)], CLASSES)
    if channels == (0, 1, 2):
        assert note == ""
    else:
        expected = ", ".join(CLASSES[place] for place in channels)
        assert note.startswith(f"in the order {expected} the predictions have a mean IoU of 70.5 %, in place of ")


def test_small_gains_and_absent_classes_are_no_reason() -> None:
    weak = np.array([[30, 40, 30], [40, 30, 30], [30, 30, 40]])
    assert order_note(weak, CLASSES) == ""
    absent = RIGHT.copy()
    absent[1] = 0
    assert order_note(absent, CLASSES) == ""
    assert order_note(absent[:, [2, 1, 0]], CLASSES).startswith("in the order sand, rock, soil the predictions")
    assert order_note(np.zeros((3, 3), np.int64), CLASSES) == ""
