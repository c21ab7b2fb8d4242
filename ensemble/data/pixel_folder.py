"""Decoded images of a data set on disk, next to those of other data sets, which make room where it is short."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ensemble.core.cache import cache_folder
from ensemble.core.files import digest, free_disk
from ensemble.core.reading import is_folder
from ensemble.data.pixel_file import Bounds, read_pixels, write_pixels

DISK_SHARE = 0.5  # of the free disk: results need room, too
IN_USE = 600.0  # seconds after its last use in which a folder is not removed
Name = tuple[str, ...]


@dataclass
class PixelFolder:
    """The files of one data set. A disk that is full or cannot be written does no harm.

    Attributes:
        key: digest of the data and of how they are read.
        share: how much of the free disk the pixels of all data sets may take; what they take now counts as free.
    """

    key: str
    share: float = DISK_SHARE
    _used: int | None = None  # bytes of all data sets when they were last counted, and what was written since
    _closed: bool = False
    _marked: float = -IN_USE
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def path(self) -> Path:
        """The folder, which need not exist."""
        return _all_pixels() / self.key

    def read(self, name: Name, rows: Bounds | None = None, columns: Bounds | None = None) -> NDArray[np.generic] | None:
        """Return a window of an image, or None if it is not there or damaged."""
        window = read_pixels(*self._file(name), rows, columns)
        if window is not None:
            self._mark()
        return window

    def write(self, name: Name, pixels: NDArray[np.generic]) -> None:
        """Write an image if there is room; when there is none, or the disk fails, nothing more is written."""
        try:
            with self._lock:
                self._closed = self._closed or not self._make_room(pixels.nbytes)
            if not self._closed:
                path, key = self._file(name)
                write_pixels(path, pixels, key)
                self._mark()
        except OSError:
            self._closed = True

    def room(self) -> int:
        """Return how many bytes the pixels of this data set may take."""
        sizes = _sizes()
        others = sum(size for folder, size in sizes.items() if folder != self.path and _in_use(folder))
        return max(0, self._limit(sum(sizes.values())) - others)

    def _limit(self, used: int) -> int:
        """Return how many bytes the pixels of all data sets may take, if they take ``used`` now."""
        return int(self.share * (free_disk(_all_pixels()) + used))

    def _file(self, name: Name) -> tuple[Path, str]:
        key = digest(*name)
        return self.path / f"{key}.px", key

    def _mark(self) -> None:
        """Set the time of the last use, which other processes look at."""
        if (now := time.monotonic()) - self._marked > IN_USE / 4:
            self._marked = now
            with suppress(OSError):
                os.utime(self.path)

    def _make_room(self, needed: int) -> bool:
        """Return whether ``needed`` bytes may be written; data sets that are not in use are removed for them."""
        if self._used is None:
            self._used = sum(_sizes().values())
        if self._used + needed > self._limit(self._used):
            self._used = self._remove_others(needed)
        fits = self._used + needed <= self._limit(self._used)
        self._used += needed if fits else 0
        return fits

    def _remove_others(self, needed: int) -> int:
        """Remove data sets until there is room, those whose last use is longest ago first; return the bytes left."""
        sizes = _sizes()
        for folder in sorted((each for each in sizes if each != self.path and not _in_use(each)), key=_last_use):
            used = sum(sizes.values())
            if used + needed <= self._limit(used):
                break
            shutil.rmtree(folder, ignore_errors=True)
            sizes[folder] = _size(folder)
        return sum(sizes.values())


def _all_pixels() -> Path:
    return cache_folder() / "pixels"


def _sizes() -> dict[Path, int]:
    """Return the bytes of every data set by its folder."""
    root = _all_pixels()
    return {folder: _size(folder) for folder in root.iterdir()} if is_folder(root) else {}


def _size(folder: Path) -> int:
    size = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # another process may remove it
                size += entry.stat().st_size
    return size


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _in_use(folder: Path) -> bool:
    return time.time() - _last_use(folder) < IN_USE
