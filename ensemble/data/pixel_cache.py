"""Decoded images and masks of a data set: in memory while there is room, then in files on disk, then nowhere.

The files lie in ``pixels/`` of the user's cache folder, in a folder per data set and way of reading it. They may be
deleted at any time. A file that is absent, damaged or half written is decoded again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ensemble.core.formatting import gigabytes
from ensemble.core.reading import free_memory
from ensemble.data.pixel_file import Bounds
from ensemble.data.pixel_folder import Name, PixelFolder

MEMORY_SHARE = 0.25  # of the free memory: training, other members and the system's own cache of files need the rest
Decode = Callable[[], NDArray[np.generic]]


@dataclass
class PixelCache:
    """Keeps what was decoded.

    Attributes:
        folder: the files on disk.
        share: how much of the free memory it may take.
    """

    folder: PixelFolder
    share: float = MEMORY_SHARE
    _kept: dict[Name, NDArray[np.generic]] = field(default_factory=dict[Name, NDArray[np.generic]], repr=False)
    _bytes: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def read(
        self,
        name: Name,
        decode: Decode,
        rows: Bounds | None = None,
        columns: Bounds | None = None,
        *,
        disk: bool = True,
    ) -> NDArray[np.generic]:
        """Return an image or a mask, or a window of it; it may be a view of what is kept, so nobody may change it.

        Args:
            name: what distinguishes the image from all others of the data set.
            decode: returns its pixels from the files of the user.
            rows: rows of the window, within the image; None for all.
            columns: columns of the window; None for all.
            disk: whether the image may be written to disk.
        """
        pixels = self._kept.get(name)
        if pixels is None and disk:
            window = self.folder.read(name, rows, columns)
            if window is not None:
                return window
        if pixels is None:
            pixels = decode()
            if not self._keep(name, pixels) and disk:
                self.folder.write(name, pixels)
        return pixels[slice(*rows or (None,)), slice(*columns or (None,))]

    def _keep(self, name: Name, pixels: NDArray[np.generic]) -> bool:
        """Keep pixels in memory if there is room."""
        with self._lock:
            if name in self._kept:
                return True
            if self._bytes + pixels.nbytes > self.room():
                return False
            self._kept[name], self._bytes = pixels, self._bytes + pixels.nbytes
            return True

    def room(self) -> int:
        """Return how many bytes may be in memory; what is there already counts as free."""
        return int(self.share * (free_memory() + self._bytes))

    def note(self, needed: int) -> str | None:
        """Return a sentence if the ``needed`` bytes of all images and masks do not fit in memory, else None."""
        if needed <= self.room():
            return None
        limit, room, folder = 100 * self.share, self.folder.room(), self.folder.path
        subject = f"decoded images and masks take {gigabytes(needed)}, more than {limit:.0f} % of the free memory"
        if needed <= room:
            return f"{subject}; they are kept in {folder}, which may be deleted at any time"
        return (
            f"{subject}, and more than the {gigabytes(room)} that may be kept in {folder.parent}"
            f" ({100 * self.folder.share:.0f} % of what is free there); the others are decoded whenever they are"
            " needed, which is slower: free disk space, or set XDG_CACHE_HOME to a folder on a larger disk"
        )
