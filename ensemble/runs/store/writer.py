"""Write a probability store batch by batch; read it with :class:`ensemble.runs.store.Store`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from ensemble.runs.store.chunks import Size, is_full, rows_per_strip
from ensemble.runs.store.codec import encode, pack
from ensemble.runs.store.manifest import REQUIRED_META, Chunk, Manifest, chunk_name, clear, write_manifest

Images = NDArray[np.uint8]


class StoreWriter:
    """Writes a store of images of any size, batch by batch; the bytes on disk depend only on the content.

    A batch holds images of one size. An image that is larger than the memory should hold is appended strip by strip.

    Entering the block removes the files of an earlier writer at ``path``. Leaving it without an error writes the
    manifest; leaving it with an error removes the chunks. A killed writer leaves chunks without a manifest; the
    next writer removes them.

    Args:
        path: directory of the store; it is created if absent.
        classes: names of the real classes, in the order of the channels; void is not one of them.
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
        meta: Mapping[str, str],
        ids: Sequence[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.classes = _class_names(classes)
        missing = [key for key in REQUIRED_META if key not in meta]
        if missing:
            raise EnsError(
                f"a probability store needs {', '.join(REQUIRED_META)} in meta, got no {', '.join(missing)}; add it"
            )
        self.meta = {str(key): str(value) for key, value in meta.items()}
        self.expected = None if ids is None else tuple(str(each) for each in ids)
        self._held: list[tuple[Images, Images | None]] = []  # codes and labels of the next chunk
        self._has_labels: bool | None = None
        self._groups: dict[str, str] = {}  # by id, in the order of the images
        self._sizes: list[Size] = []
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
        """Add a batch of images of one size.

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
        if len(owners) != len(names):
            raise EnsError(f"expected one group per image, got {len(owners)} groups for {len(names)} images")
        shape = probs_nchw.shape
        if len(shape) != 4 or shape[:2] != (len(names), len(self.classes)) or min(shape[2:]) < 1:
            raise EnsError(
                f"expected probabilities of {len(names)} images and {len(self.classes)} classes (images, classes,"
                f" height, width), got the shape {shape}; append images of one size at a time"
            )
        labels = self._checked_labels(labels_nhw, (len(names), *shape[2:]))
        self._check_ids(names)
        codes = encode(probs_nchw)
        rows = rows_per_strip(len(self.classes), shape[2:])
        for at, (name, owner) in enumerate(zip(names, owners, strict=True)):
            self._begin(name, owner, shape[2:], labels is not None)
            for top in range(0, shape[2], rows):
                here = slice(top, top + rows)
                self._hold(codes[at, :, here], None if labels is None else labels[at, here])

    def append_strips(
        self,
        name: str,
        size: Size,
        strips: Iterable[NDArray[np.floating]],
        labels_hw: NDArray[np.integer] | None = None,
        *,
        group: str | None = None,
    ) -> None:
        """Add one image from strips of its rows; memory holds one of them and one chunk.

        Args:
            name: id of the image.
            size: its height and width.
            strips: probabilities (classes, rows, width) from top to bottom, with any number of rows each.
            labels_hw: as for :meth:`append`, (height, width).
            group: group of the image.

        Raises:
            EnsError: a strip does not fit the image, or the other causes of :meth:`append`. Then leave the block: a
                part of the image may have been added.
        """
        height, width = size
        labels = self._checked_labels(None if labels_hw is None else labels_hw[None], (1, *size))
        self._check_ids([name])
        self._begin(name, group or name, (height, width), labels is not None)
        rows, top = rows_per_strip(len(self.classes), (height, width)), 0
        held = np.empty((len(self.classes), rows, width), np.uint8)
        for probs in strips:
            if probs.ndim != 3 or probs.shape[::2] != (len(self.classes), width) or top + probs.shape[1] > height:
                raise EnsError(
                    f"expected strips of {len(self.classes)} classes, {width} columns and {height} rows together for"
                    f" '{name}', got the shape {probs.shape} after {top} rows"
                )
            for codes in np.split(encode(probs[None])[0], range(rows - top % rows, probs.shape[1], rows), axis=1):
                at, stop = top % rows, top + codes.shape[1]
                held[:, at : at + codes.shape[1]] = codes
                if stop % rows == 0 or stop == height:
                    start = stop - at - codes.shape[1]
                    self._hold(held[:, : stop - start], None if labels is None else labels[0, start:stop])
                top = stop
        if top != height:
            raise EnsError(f"expected strips of {height} rows together for '{name}', got {top} rows")

    def append_parts(
        self,
        ids: Sequence[str],
        size: Size,
        parts: Iterable[NDArray[np.floating]],
        labels_nhw: NDArray[np.integer] | None = None,
        *,
        groups: Sequence[str] | None = None,
    ) -> None:
        """Add several images of one size, whose probabilities are the only part, or one image, whose strips they are.

        Args:
            ids, labels_nhw, groups: as for :meth:`append`.
            size: height and width of each image.
            parts: probabilities (images, classes, rows, width).

        Raises:
            EnsError: the causes of :meth:`append` and :meth:`append_strips`.
        """
        if len(ids) > 1:
            (probs_nchw,) = parts
            self.append(ids, probs_nchw, labels_nhw, groups=groups)
            return
        strips = (probs_nchw[0] for probs_nchw in parts)
        labels_hw = None if labels_nhw is None else labels_nhw[0]
        self.append_strips(ids[0], size, strips, labels_hw, group=None if groups is None else groups[0])

    def _checked_labels(self, labels_nhw: NDArray[np.integer] | None, shape: tuple[int, ...]) -> Images | None:
        if labels_nhw is not None and labels_nhw.shape != shape:
            raise EnsError(f"expected labels of shape {shape} (images, height, width), got {labels_nhw.shape}")
        if self._has_labels is not None and self._has_labels != (labels_nhw is not None):
            raise EnsError("expected labels for every batch or for none, got a mixture; give them always or never")
        return None if labels_nhw is None else _checked_labels(labels_nhw, len(self.classes))

    def _check_ids(self, names: Sequence[str]) -> None:
        done, seen = len(self._groups), set(self._groups)
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

    def _begin(self, name: str, group: str, size: Size, has_labels: bool) -> None:
        """Note the next image; its codes follow."""
        self._has_labels = has_labels
        self._groups[name] = group
        self._sizes.append(size)

    def _hold(self, codes: Images, labels: Images | None) -> None:
        """Put an image, or a strip of a large one, into the next chunk; write the chunk before, if it is full."""
        is_strip = codes.shape[1] < self._sizes[-1][0]
        if self._held and (is_strip or is_full(len(self._held), sum(one.size for one, _ in self._held), codes.size)):
            self._flush()
        self._held.append((codes.copy(), None if labels is None else labels.copy()))
        if is_strip:
            self._flush()

    def _flush(self) -> None:
        labels = [one for _, one in self._held if one is not None]
        content = pack([codes for codes, _ in self._held], labels or None)
        file = chunk_name(len(self._chunks))
        write_bytes(self.path / file, content)
        self._chunks.append(Chunk(file=file, images=len(self._held), bytes=len(content), digest=digest(content)))
        self._held = []

    def _finish(self) -> None:
        count = len(self._groups)
        if not count or (self.expected is not None and count != len(self.expected)):
            wanted = "at least one image" if self.expected is None else f"{len(self.expected)} images"
            raise EnsError(f"expected {wanted} in the store {self.path}, got {count}; append the whole split")
        if self._held:
            self._flush()
        write_manifest(
            self.path,
            Manifest(
                classes=self.classes,
                ids=tuple(self._groups),
                groups=tuple(self._groups.values()),
                sizes=tuple(self._sizes),
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
        meta={
            "split": split,
            "split_hash": facts.split_hash,
            "data_hash": facts.data_hash,
            "background": facts.background,
        },
        ids=ids,
    )
