"""Colours of classes."""

from __future__ import annotations

import numpy as np

from ensemble.core.palette import OKABE_ITO, class_colours


def test_classes_get_the_colours_in_order_and_all_else_is_black() -> None:
    table = class_colours([3, 1])
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert table[3].tolist() == list(OKABE_ITO[0])
    assert table[1].tolist() == list(OKABE_ITO[1])
    assert not np.delete(table, [1, 3], axis=0).any()


def test_up_to_24_classes_have_colours_of_their_own() -> None:
    colours = class_colours(range(24))[:24]
    assert len({tuple(colour) for colour in colours.tolist()}) == 24
    assert colours.any(1).all()
