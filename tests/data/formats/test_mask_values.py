"""Ids of masks, and masks that have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from layouts import write

from ensemble.data.formats.mask_values import ids_in


def test_ids_of_all_masks_are_united(tmp_path: Path) -> None:
    write(tmp_path / "a.png", np.array([[0, 3]], np.uint8))
    write(tmp_path / "b.png", np.array([[255, 3]], np.uint8))
    write(tmp_path / "grey.png", np.full((1, 2, 3), 7, np.uint8))
    assert ids_in([tmp_path / name for name in ("a.png", "b.png", "grey.png")]) == {0, 3, 7, 255}
    assert ids_in([]) == set()


def test_colours_and_damage_are_no_ids(tmp_path: Path) -> None:
    write(tmp_path / "colour.png", np.array([[[1, 2, 3]]], np.uint8))
    (tmp_path / "damaged.png").write_bytes(b"x")
    assert ids_in([tmp_path / "colour.png"]) is None
    assert ids_in([tmp_path / "damaged.png"]) is None
