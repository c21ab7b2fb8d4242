"""Write a probability store batch by batch; read it with :class:`ensemble.runs.store.Store`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataFacts
from ensemble.core.errors import EnsError
from ensemble.core.files import digest, write_bytes
from ensemble.evaluation.void import VOID
from ensemble.runs.layout import store_folder
from ensemble.runs.store.codec import encode, pack
from ensemble.runs.store.manifest import (
    REQUIRED_META,
    Chunk,
    Manifest,
    chunk_name,
    clear,
    images_per_chunk,
    write_manifest,
)


class StoreWriter:
    """Writes a store from batches of any size; the bytes on disk depend only on the content.

    Entering the block removes the files of an earlier writer at ``path``. Leaving it without an error writes the
    manifest; leaving it with an error removes the chunks. A killed writer leaves chunks without a manifest; the
    next writer removes them.

    Args:
        path: directory of the store; it is created if absent.
        classes: names of the real classes, in the order of the channels; void is not one of them.
        height: height of every image, in pixels.
        width: width of every image, in pixels.
        meta: texts kept with the store; ``split``, ``split_hash`` and ``data_hash`` are required.
        ids: ids that must be appended, in this order (default: any).

    Raises:
        EnsError: an argument is missing or out of range, or a batch does not fit the store.
    """

    def __init__(
        self,
        path: Path,
        *,
        classes: Sequence[str],
        height: int,
        width: int,
        meta: Mapping[str, str],
        ids: Sequence[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.classes = _class_names(classes)
        if height < 1 or width < 1:
            raise EnsError(f"expected images of at least 1x1 pixels, got {height}x{width}")
        missing = [key for key in REQUIRED_META if key not in meta]
        if missing:
            raise EnsError(
                f"a probability store needs {', '.join(REQUIRED_META)} in meta, got no {', '.join(missing)}; add it"
            )
        self.meta = {str(key): str(value) for key, value in meta.items()}
        self.expected = None if ids is None else tuple(str(each) for each in ids)
        self.per_chunk = images_per_chunk(len(self.classes), height, width)
        self._codes = np.empty((self.per_chunk, len(self.classes), height, width), np.uint8)
        self._labels = np.empty((self.per_chunk, height, width), np.uint8)
        self._filled = 0
        self._has_labels: bool | None = None
        self._ids: dict[str, str] = {}  # id -> group, in the order of the images
        self._chunks: list[Chunk] = []

    def __enter__(self) -> Self:
        clear(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except BaseException:
            clear(self.path)
            raise
        if kind is not None:
            clear(self.path)

    def append(
        self,
        ids: Sequence[str],
        probs_nchw: NDArray[np.floating],
        labels_nhw: NDArray[np.integer] | None = None,
        *,
        groups: Sequence[str] | None = None,
    ) -> None:
        """Add a batch of images.

        Args:
            ids: one unique id per image.
            probs_nchw: probabilities of the real classes, (images, classes, height, width), summing to 1.
            labels_nhw: classes 0..K-1 or 255 for void, (images, height, width); for all batches or no batch.
            groups: group of every image, for grouped folds and bootstraps; without it each image is its own group.

        Raises:
            EnsError: shapes, ids, labels or probabilities do not fit; nothing of the batch has been added.
        """
        names = [str(each) for each in ids]
        owners = names if groups is None else [str(each) for each in groups]
        self._check_shapes(len(names), len(owners), probs_nchw.shape, None if labels_nhw is None else labels_nhw.shape)
        self._check_ids(names)
        labels = None if labels_nhw is None else _checked_labels(labels_nhw, len(self.classes))
        codes = encode(probs_nchw)
        self._has_labels = labels is not None
        self._ids.update(zip(names, owners, strict=True))
        start = 0
        while start < len(names):
            count = min(self.per_chunk - self._filled, len(names) - start)
            here = slice(self._filled, self._filled + count)
            self._codes[here] = codes[start : start + count]
            if labels is not None:
                self._labels[here] = labels[start : start + count]
            self._filled += count
            start += count
            if self._filled == self.per_chunk:
                self._flush()

    def _check_shapes(self, ids: int, groups: int, probs: tuple[int, ...], labels: tuple[int, ...] | None) -> None:
        shape = self._codes.shape[1:]
        if probs != (ids, *shape):
            raise EnsError(
                f"expected probabilities of shape {(ids, *shape)} (images, classes, height, width), got {probs}; "
                "a store holds images of one size: give other sizes a store of their own"
            )
        if groups != ids:
            raise EnsError(f"expected one group per image, got {groups} groups for {ids} images")
        if labels is not None and labels != (ids, *shape[1:]):
            raise EnsError(f"expected labels of shape {(ids, *shape[1:])} (images, height, width), got {labels}")
        if self._has_labels is not None and self._has_labels != (labels is not None):
            raise EnsError("expected labels for every batch or for none, got a mixture; give them always or never")

    def _check_ids(self, names: Sequence[str]) -> None:
        done, seen = len(self._ids), set(self._ids)
        for name in names:
            if name in seen:
                raise EnsError(f"image id '{name}' was given twice; give every image of a store a different id")
            seen.add(name)
        if self.expected is None:
            return
        wanted = self.expected[done : done + len(names)]
        if tuple(names) != wanted:
            pairs = enumerate(zip(names, wanted, strict=False))
            at = next((at for at, (name, want) in pairs if name != want), len(wanted))
            due = f"'{wanted[at]}'" if at < len(wanted) else "no more images"
            raise EnsError(
                f"expected {due} as image {done + at} of the split, got '{names[at]}'; append in the split's order"
            )

    def _flush(self) -> None:
        count = self._filled
        content = pack(self._codes[:count], self._labels[:count] if self._has_labels else None)
        file = chunk_name(len(self._chunks))
        write_bytes(self.path / file, content)
        self._chunks.append(Chunk(file=file, images=count, bytes=len(content), digest=digest(content)))
        self._filled = 0

    def _finish(self) -> None:
        if not self._ids or (self.expected is not None and len(self._ids) != len(self.expected)):
            wanted = "at least one image" if self.expected is None else f"{len(self.expected)} images"
            raise EnsError(f"expected {wanted} in the store {self.path}, got {len(self._ids)}; append the whole split")
        if self._filled:
            self._flush()
        write_manifest(
            self.path,
            Manifest(
                classes=self.classes,
                ids=tuple(self._ids),
                groups=tuple(self._ids.values()),
                height=self._codes.shape[2],
                width=self._codes.shape[3],
                has_labels=bool(self._has_labels),
                meta=self.meta,
                chunks=tuple(self._chunks),
            ),
        )


def _class_names(classes: Sequence[str]) -> tuple[str, ...]:
    names = tuple(str(each) for each in classes)
    if not 1 <= len(names) <= VOID or len(set(names)) != len(names):
        raise EnsError(f"expected 1 to {VOID} different class names, got {len(names)}: {', '.join(names[:8])}")
    return names


def _checked_labels(labels_nhw: NDArray[np.integer], classes: int) -> NDArray[np.uint8]:
    if not np.issubdtype(labels_nhw.dtype, np.integer):
        raise EnsError(f"expected whole-number labels, got {labels_nhw.dtype}")
    wrong = labels_nhw[((labels_nhw < 0) | (labels_nhw >= classes)) & (labels_nhw != VOID)]
    if wrong.size:
        raise EnsError(
            f"expected labels 0..{classes - 1} or {VOID} for void, got {int(wrong[0])}; map the data set's ids first"
        )
    return labels_nhw.astype(np.uint8)


def open_writer(path: Path, facts: DataFacts, split: str, ids: Sequence[str]) -> StoreWriter:
    """Return the writer of a member's store of a split, for the data that ``facts`` describe."""
    return StoreWriter(
        store_folder(path, split),
        classes=facts.classes,
        height=facts.height,
        width=facts.width,
        meta={
            "split": split,
            "split_hash": facts.split_hash,
            "data_hash": facts.data_hash,
            "background": facts.background,
        },
        ids=ids,
    )
