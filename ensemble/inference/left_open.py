"""Count the pixels of predicted masks that got no class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.void import VOID
from ensemble.data.formats.image_files import read_mask_pixels


@dataclass
class LeftOpen:
    """How many pixels of masks were left open.

    Attributes:
        value: id of pixels that got no class.

    >>> counted = LeftOpen()
    >>> counted.add(np.array([[1, 255], [2, 2]], np.uint8))
    >>> counted.share
    0.25
    """

    value: int = VOID
    opened: int = 0
    pixels: int = 0

    def add(self, masks: NDArray[np.integer[Any]]) -> None:
        """Add masks of any shape."""
        self.opened += int(np.count_nonzero(masks == self.value))
        self.pixels += masks.size

    def read(self, file: Path) -> None:
        """Add the mask that a file holds: PNG, TIFF or npz of one image."""
        if file.suffix.lower() == ".npz":
            with np.load(file) as archive:
                self.add(archive["masks"])
        else:
            self.add(read_mask_pixels(file))

    @property
    def share(self) -> float:
        """Share of the pixels that were left open; 0 if none was counted."""
        return self.opened / self.pixels if self.pixels else 0.0
