"""Images of one part: leading zeros that are lost, and lists of ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ensemble.core.errors import EnsError
from ensemble.data.description import Part
from ensemble.data.formats.part_samples import read_ids, samples_of
from tests.data.formats.test_files import write_png

NAMES = ("left lane 1", "left lane 2", "Größe.v1")


def test_lost_leading_zeros_are_explained(tmp_path: Path) -> None:
    for number in (0, 7, 10):
        write_png(tmp_path / "images" / f"s_{number:03}.png", np.zeros((8, 8), np.uint8))
        write_png(tmp_path / "masks" / f"s_{number}.png", np.zeros((8, 8), np.uint8))
    part = Part(images=("images/{id}.png",), masks="masks/{id}.png")
    with pytest.raises(EnsError, match=r"3 of 3 files .*: the first is s_000, but there is s_0, which differs in lead"):
        samples_of(part, "train", tmp_path, in_table=False)


@pytest.mark.parametrize(
    "line",
    [
        "left lane 2",
        "left lane 2.png",
        "images/left lane 2.png",
        "C:\\data\\images\\left lane 2.jpg",
        "  left lane 2.png ",
    ],
)
def test_a_list_names_images_with_spaces(tmp_path: Path, line: str) -> None:
    (tmp_path / "list.txt").write_text(f"{line}\n", encoding="utf-8")
    assert read_ids(tmp_path / "list.txt", set(NAMES)) == ["left lane 2"]


def test_the_first_word_of_a_line_names_the_image(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("/data/train/a.png /data/trainannot/a.png\nb 1\n\n# c\n", encoding="utf-8")
    assert read_ids(tmp_path / "list.txt", {"a", "b", "c"}) == ["a", "b"]
