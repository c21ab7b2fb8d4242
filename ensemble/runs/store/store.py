"""Read a store by batches, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.runs.store.codec import decode, unpack
from ensemble.runs.store.manifest import FILE as MANIFEST_FILE
from ensemble.runs.store.manifest import Manifest, read_manifest

Images = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, repr=False)
class Store(Manifest):
    """A finished store, opened by :meth:`Store.open` and read by batches of images in bounded memory.

    It has the attributes of its ``Manifest``: ``ids``, ``groups``, ``classes``, ``height``,
    ``width``, ``has_labels``, ``meta``, ``n``, ``split``, ``split_hash`` and ``data_hash``.
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
                raise EnsError(f"{file} is missing from the probability store; predict the split again")
            if file.stat().st_size != chunk.bytes:
                raise EnsError(
                    f"expected {chunk.bytes} bytes in {file}, got {file.stat().st_size}; predict the split again"
                )
        return store

    def __repr__(self) -> str:
        return f"Store({self.path}, {self.n} images of {self.height}x{self.width}, {len(self.classes)} classes)"

    @property
    def nbytes(self) -> int:
        """Bytes on disk, with labels and manifest."""
        return sum(chunk.bytes for chunk in self.chunks) + (self.path / MANIFEST_FILE).stat().st_size

    @property
    def bytes_per_value(self) -> float:
        """Bytes on disk, with labels and manifest, per stored probability."""
        return self.nbytes / (self.n * len(self.classes) * self.height * self.width)

    def batches(
        self, size: int = 64, rows: Sequence[int] | NDArray[np.integer] | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32], Images | None]]:
        """Return the probabilities by batches; memory holds one batch and one chunk.

        Args:
            size: images per batch; the last batch may be smaller.
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
        return self._gather(wanted, size)

    def verify(self) -> None:
        """Read every chunk and check its digest.

        Raises:
            EnsError: a chunk is damaged; the text names the first one.
        """
        for index in range(len(self.chunks)):
            self._read(index)

    def _gather(self, wanted: NDArray[np.intp], size: int) -> Iterator[tuple[NDArray[np.intp], Images, Images | None]]:
        per_chunk = self.chunks[0].images
        held, held_codes, held_labels = -1, None, None
        for start in range(0, len(wanted), size):
            batch = wanted[start : start + size]
            codes = np.empty((len(batch), len(self.classes), self.height, self.width), np.uint8)
            labels = np.empty((len(batch), self.height, self.width), np.uint8) if self.has_labels else None
            for index in np.unique(batch // per_chunk).tolist():
                if index != held or held_codes is None:
                    held_codes = held_labels = None  # the memory is freed before the next chunk is read
                    held_codes, held_labels = self._read(index)
                    held = index
                first, last = np.searchsorted(batch, (index * per_chunk, (index + 1) * per_chunk))
                local = batch[first:last] - index * per_chunk
                # The mode clip copies once, the others twice; all rows are in range.
                np.take(held_codes, local, axis=0, out=codes[first:last], mode="clip")
                if labels is not None and held_labels is not None:
                    np.take(held_labels, local, axis=0, out=labels[first:last], mode="clip")
            yield batch, codes, labels

    def _read(self, index: int) -> tuple[Images, Images | None]:
        chunk = self.chunks[index]
        file = self.path / chunk.file
        try:
            content = file.read_bytes()
        except OSError as error:
            raise EnsError(f"{file} cannot be read ({error.strerror}); predict the split again") from error
        if digest(content) != chunk.digest:
            raise EnsError(f"{file} is damaged: its digest is not the one in the manifest; predict the split again")
        try:
            return unpack(content, (chunk.images, len(self.classes), self.height, self.width), self.has_labels)
        except EnsError as error:
            raise EnsError(f"{file} is damaged: {error}; predict the split again") from error
