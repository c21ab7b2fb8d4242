"""Look at the ids of masks, to see whether they are those that a layout defines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ensemble.core.errors import EnsError
from ensemble.core.threads import in_threads
from ensemble.data.formats.image_files import read_mask_pixels


def ids_in(masks: Sequence[Path]) -> set[int] | None:
    """Return the ids that masks hold, or None if one of them holds colours or cannot be read."""
    found: set[int] = set()
    for ids in in_threads(_ids, masks):
        if ids is None:
            return None
        found |= ids
    return found


def _ids(path: Path) -> set[int] | None:
    try:
        pixels = read_mask_pixels(path)
    except EnsError:
        return None  # it is named when the masks are read
    if pixels.ndim == 3 and (pixels[..., :1] == pixels).all():
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or pixels.dtype.kind not in "bui":
        return None
    return {int(value) for value in np.unique(pixels)}
