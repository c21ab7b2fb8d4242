"""Colours of classes."""

from __future__ import annotations

import cv2
import numpy as np

from ensemble.core.palette import OKABE_ITO, class_colours


def test_classes_get_the_colours_in_order_and_all_else_is_black() -> None:
    table = class_colours([3, 1])
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert table[3].tolist() == list(OKABE_ITO[0])
    assert table[1].tolist() == list(OKABE_ITO[1])
    assert not np.delete(table, [1, 3], axis=0).any()


def test_24_classes_are_told_apart() -> None:
    colours = class_colours(range(24))[:24]
    lab = cv2.cvtColor(np.vstack([colours, [[0, 0, 0]]]).astype(np.float32)[None] / 255, cv2.COLOR_RGB2LAB)[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    assert distances[~np.eye(25, dtype=bool)].min() > 25  # 2.3 is just noticeable


def test_every_class_has_a_colour() -> None:
    assert class_colours(range(72))[:72].any(1).all()
    assert len({tuple(colour) for colour in class_colours(range(72))[:72].tolist()}) == 72
