"""Images of a description: a pattern of masks without an id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ensemble.core.errors import EnsError
from ensemble.data.description import Description, Part
from ensemble.data.formats.samples import collect
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
