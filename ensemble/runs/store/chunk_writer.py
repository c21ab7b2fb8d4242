"""Write the chunks of a store, each as soon as it is full; and cut the rows of an image into the strips of a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.core.files import digest, write_bytes
from ensemble.runs.store.chunks import is_full
from ensemble.runs.store.codec import pack
from ensemble.runs.store.manifest import Chunk, chunk_name

Images = NDArray[np.uint8]


class ChunkWriter:
    """Writes images and strips of images into the chunks of a store, as `chunks_of` has them; memory holds one chunk.

    Args:
        folder: directory of the store.
    """

    def __init__(self, folder: Path) -> None:
        self.chunks: list[Chunk] = []  # those on disk
        self._folder = folder
        self._held: list[tuple[Images, Images | None]] = []  # codes and labels of the next chunk

    def add(self, codes: Images, labels: Images | None, *, is_strip: bool) -> None:
        """Put an image, or a strip of a large one, into the next chunk; write the chunk before, if it is full.

        Args:
            codes: codes (classes, height, width).
            labels: labels (height, width), or None.
            is_strip: whether these are some rows of an image, which have a chunk to themselves.
        """
        if self._held and (is_strip or is_full(len(self._held), sum(one.size for one, _ in self._held), codes.size)):
            self.flush()
        self._held.append((codes.copy(), None if labels is None else labels.copy()))
        if is_strip:
            self.flush()

    def flush(self) -> None:
        """Write what is held, if anything is."""
        if not self._held:
            return
        labels = [one for _, one in self._held if one is not None]
        content = pack([codes for codes, _ in self._held], labels or None)
        file = chunk_name(len(self.chunks))
        write_bytes(self._folder / file, content)
        self.chunks.append(Chunk(file=file, images=len(self._held), bytes=len(content), digest=digest(content)))
        self._held = []


def cut_anew(strips: Iterable[Images], rows: int) -> Iterator[Images]:
    """Yield the rows of an image in strips of equal height; the last one has the rest.

    Args:
        strips: codes (classes, rows, width) from top to bottom, with any number of rows each.
        rows: rows of each strip that is yielded.

    >>> image = np.arange(5, dtype=np.uint8).reshape(1, 5, 1)
    >>> [strip.ravel().tolist() for strip in cut_anew([image[:, :1], image[:, 1:]], 2)]
    [[0, 1], [2, 3], [4]]
    """
    held, count = list[Images](), 0
    for strip in strips:
        for part in np.split(strip, range(rows - count, strip.shape[1], rows), axis=1):
            held.append(part)
            count += part.shape[1]
            if count == rows:
                yield _joined(held)
                held, count = [], 0
    if count:
        yield _joined(held)


def _joined(parts: list[Images]) -> Images:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
