"""Read a store by batches, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.runs.store.codec import decode
from ensemble.runs.store.manifest import FILE as MANIFEST_FILE
from ensemble.runs.store.manifest import Manifest, read_manifest
from ensemble.runs.store.parts import parts_of
from ensemble.runs.store.reader import Images, Reader


@dataclass(frozen=True, kw_only=True, repr=False)
class Store(Manifest):
    """A finished store, opened by :meth:`Store.open` and read by batches of images in bounded memory.

    It has the attributes of its ``Manifest``: ``ids``, ``groups``, ``classes``, ``sizes``, ``has_labels``, ``meta``,
    ``n``, ``split``, ``split_hash`` and ``data_hash``.
    """

    path: Path

    @classmethod
    def open(cls, path: Path) -> Store:
        """Read the manifest and check that every chunk is there with its size (contents are checked when read).

        Raises:
            EnsError: there is no store, its manifest is damaged or newer, or a chunk is missing or has another size.
        """
        path = Path(path)
        store = cls(path=path, **vars(read_manifest(path)))
        for chunk in store.chunks:
            file = path / chunk.file
            if not file.is_file():
                raise EnsError(f"{file} is missing from the probability store; make the member again")
            if file.stat().st_size != chunk.bytes:
                raise EnsError(
                    f"expected {chunk.bytes} bytes in {file}, got {file.stat().st_size}; make the member again"
                )
        return store

    def __repr__(self) -> str:
        height, width = map(max, zip(*self.sizes, strict=True))
        text = f"{height}x{width}" if len(set(self.sizes)) == 1 else f"at most {height}x{width}"
        return f"Store({self.path}, {self.n} images of {text}, {len(self.classes)} classes)"

    @property
    def nbytes(self) -> int:
        """Bytes on disk, with labels and manifest."""
        return sum(chunk.bytes for chunk in self.chunks) + (self.path / MANIFEST_FILE).stat().st_size

    @property
    def bytes_per_value(self) -> float:
        """Bytes on disk, with labels and manifest, per stored probability."""
        return self.nbytes / (len(self.classes) * sum(height * width for height, width in self.sizes))

    def reader(self, *, keep: bool = False) -> Reader:
        """Return what reads parts of images, of any size; see `parts_of`. Its memory is bounded unless it keeps all."""
        return Reader(self.path, self, keep=keep)

    def batches(
        self, size: int = 64, rows: Sequence[int] | NDArray[np.integer] | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32], Images | None]]:
        """Return the probabilities by batches of whole images of one size; memory holds one batch and one chunk.

        For images that are too large for this, see :meth:`reader`.

        Args:
            size: largest number of images per batch.
            rows: rows to read, ascending and each once (default: all).

        Returns:
            Iterator of (rows of the batch, probs_nchw float32 summing to 1, labels_nhw with 255 = void or None).

        Raises:
            EnsError: ``size`` or ``rows`` is invalid (raised at once), or a chunk is damaged (raised when it is read).
        """
        return ((at, decode(codes), labels) for at, codes, labels in self.codes_batches(size, rows))

    def codes_batches(
        self, size: int = 64, rows: Sequence[int] | NDArray[np.integer] | None = None
    ) -> Iterator[tuple[NDArray[np.intp], Images, Images | None]]:
        """Return what :meth:`batches` returns, with the 8-bit codes of ``encode`` (a quarter of the memory)."""
        if size < 1:
            raise EnsError(f"expected a batch size of at least 1, got {size}")
        wanted = np.arange(self.n) if rows is None else np.asarray(rows).reshape(-1)
        if wanted.size and not np.issubdtype(wanted.dtype, np.integer):
            raise EnsError(f"expected row numbers, got {wanted.dtype}; for a mask give numpy.flatnonzero(mask)")
        wanted = wanted.astype(np.intp)
        if wanted.size and (wanted[0] < 0 or wanted[-1] >= self.n or bool((np.diff(wanted) <= 0).any())):
            raise EnsError(f"expected ascending rows from 0 to {self.n - 1}, each once, got others; sort them")
        largest = max(height * width for height, width in self.sizes)
        parts = parts_of(self.sizes, wanted.tolist(), pixels=size * largest, most=size)
        reader = self.reader()
        return ((np.asarray(part.images, np.intp), *reader.read(part)) for part in parts)

    def verify(self) -> None:
        """Read every chunk and check its digest.

        Raises:
            EnsError: a chunk is damaged; the text names the first one.
        """
        reader = self.reader()
        for index in range(len(self.chunks)):
            reader.unpack(index)
