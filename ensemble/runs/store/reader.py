"""Read parts of a store: whole images, or rows of a large one; at most two chunks are held, or all of a small store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.runs.store.chunks import Piece
from ensemble.runs.store.codec import unpack
from ensemble.runs.store.manifest import Manifest
from ensemble.runs.store.parts import Part

Images = NDArray[np.uint8]
Pieces = tuple[list[Images], list[Images] | None]


class Reader:
    """Reads the parts of a store in their order, so that every chunk is unpacked about once.

    Args:
        path: directory of the store.
        manifest: its content.
        keep: whether all chunks stay in memory, for stores that are read several times.
    """

    def __init__(self, path: Path, manifest: Manifest, *, keep: bool = False) -> None:
        self._path, self._manifest, self._keep = path, manifest, keep
        self._pieces = tuple(manifest.pieces())
        self._chunks_of: list[list[int]] = [[] for _ in manifest.ids]
        for chunk, pieces in enumerate(self._pieces):
            for piece in pieces:
                self._chunks_of[piece.image].append(chunk)
        self._held: dict[int, Pieces] = {}

    def read(self, part: Part) -> tuple[Images, Images | None]:
        """Return the codes (n, c, h, w) of a part with its halo, and its labels (n, h, w) without the halo.

        Raises:
            EnsError: a chunk is damaged.
        """
        count, width = len(part.images), part.size[1]
        codes = np.empty((count, len(self._manifest.classes), part.last - part.first, width), np.uint8)
        labels = np.empty((count, part.bottom - part.top, width), np.uint8) if self._manifest.has_labels else None
        for place, image in enumerate(part.images):
            for index in self._chunks_of[image]:
                at = image - self._pieces[index][0].image
                piece = self._pieces[index][at]
                rows = _shared(piece, part.first, part.last)
                if rows is not None:
                    held_codes, held_labels = self._unpacked(index)
                    codes[place, :, rows[1]] = held_codes[at][:, rows[0]]
                    inner = _shared(piece, part.top, part.bottom)
                    if labels is not None and held_labels is not None and inner is not None:
                        labels[place, inner[1]] = held_labels[at][inner[0]]
        return codes, labels

    def unpack(self, index: int) -> Pieces:
        """Return the codes and labels of every piece of a chunk, after a check of its digest."""
        manifest, chunk = self._manifest, self._manifest.chunks[index]
        file = self._path / chunk.file
        try:
            content = file.read_bytes()
        except OSError as error:
            raise EnsError(f"{file} cannot be read ({error.strerror}); make the member again") from error
        if digest(content) != chunk.digest:
            raise EnsError(f"{file} is damaged: its digest is not the one in the manifest; make the member again")
        try:
            sizes = [(piece.height, piece.width) for piece in self._pieces[index]]
            return unpack(content, len(manifest.classes), sizes, manifest.has_labels)
        except EnsError as error:
            raise EnsError(f"{file} is damaged: {error}; make the member again") from error

    def _unpacked(self, index: int) -> Pieces:
        if index not in self._held:
            # The memory is freed before the next chunk is read; only the strip above is kept, for its last rows.
            above = index - 1 if self._pieces[index][0].top else None
            self._held = {key: pieces for key, pieces in self._held.items() if self._keep or key == above}
            self._held[index] = self.unpack(index)
        return self._held[index]


def _shared(piece: Piece, first: int, last: int) -> tuple[slice, slice] | None:
    """Return the rows of an image from ``first`` to ``last`` that a piece holds: there, and counted from ``first``."""
    top, bottom = max(piece.top, first), min(piece.top + piece.height, last)
    return (slice(top - piece.top, bottom - piece.top), slice(top - first, bottom - first)) if top < bottom else None
