"""Images of a description: patterns of masks, lists of ids, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ensemble.core.errors import EnsError
from ensemble.data.description import Description, Part
from ensemble.data.formats.samples import collect, read_ids
from tests.data.formats.test_files import write_png

NAMES = ("left lane 1", "left lane 2", "Größe.v1")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in NAMES:
        write_png(tmp_path / "images" / f"{name}.png", np.zeros((8, 8), np.uint8))
        write_png(tmp_path / "masks" / f"{name}.png", np.zeros((8, 8), np.uint8))
    return tmp_path


@pytest.mark.parametrize("mask", ["masks/*.png", "masks/left lane 1.png"])
def test_a_pattern_of_masks_without_an_id_is_refused(root: Path, mask: str) -> None:
    description = Description(train=Part(images=("images/{id}.png",), masks=mask))
    with pytest.raises(EnsError, match=r"expected a pattern below the root that holds {id}, such as .*, got masks/"):
        collect(description, root)


def test_lost_leading_zeros_are_explained(tmp_path: Path) -> None:
    for number in (0, 7, 10):
        write_png(tmp_path / "images" / f"s_{number:03}.png", np.zeros((8, 8), np.uint8))
        write_png(tmp_path / "masks" / f"s_{number}.png", np.zeros((8, 8), np.uint8))
    description = Description(train=Part(images=("images/{id}.png",), masks="masks/{id}.png"))
    with pytest.raises(EnsError, match=r"3 of 3 files .*: the first is s_000, but there is s_0, which differs in lead"):
        collect(description, tmp_path)


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
