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
from ensemble.runs.layout import store_folder
from ensemble.runs.store.batch_checks import check_ids, checked_labels, checked_strips, class_names
from ensemble.runs.store.chunk_writer import ChunkWriter, Images, cut_anew
from ensemble.runs.store.chunks import Size, rows_per_strip
from ensemble.runs.store.codec import encode
from ensemble.runs.store.manifest import REQUIRED_META, Manifest, clear, write_manifest


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
        self.classes = class_names(classes)
        missing = [key for key in REQUIRED_META if key not in meta]
        if missing:
            raise EnsError(
                f"a probability store needs {', '.join(REQUIRED_META)} in meta, got no {', '.join(missing)}; add it"
            )
        self.meta = {str(key): str(value) for key, value in meta.items()}
        self.expected = None if ids is None else tuple(str(each) for each in ids)
        self._has_labels: bool | None = None
        self._groups: dict[str, str] = {}  # by id, in the order of the images
        self._sizes: list[Size] = []
        self._chunks = ChunkWriter(self.path)

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
        labels = self._labels(labels_nhw, (len(names), *shape[2:]))
        check_ids(names, self._groups, self.expected)
        codes = encode(probs_nchw)
        for at, (name, owner) in enumerate(zip(names, owners, strict=True)):
            self._add(name, owner, shape[2:], [codes[at]], None if labels is None else labels[at])

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
        labels = self._labels(None if labels_hw is None else labels_hw[None], (1, *size))
        check_ids([name], self._groups, self.expected)
        codes = (encode(probs[None])[0] for probs in checked_strips(strips, name, size, len(self.classes)))
        self._add(name, group or name, size, codes, None if labels is None else labels[0])

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

    def _labels(self, labels_nhw: NDArray[np.integer] | None, shape: tuple[int, ...]) -> Images | None:
        has_labels = labels_nhw is not None
        checked = checked_labels(labels_nhw, shape, len(self.classes)) if has_labels else None
        if self._has_labels not in (None, has_labels):
            raise EnsError("expected labels for every batch or for none, got a mixture; give them always or never")
        return checked

    def _add(self, name: str, group: str, size: Size, codes: Iterable[Images], labels_hw: Images | None) -> None:
        """Add an image whose codes (classes, rows, width) come from top to bottom, with any number of rows each."""
        self._has_labels = labels_hw is not None
        self._groups[name] = group
        self._sizes.append(size)
        top = 0
        for strip in cut_anew(codes, rows_per_strip(len(self.classes), size)):
            here = slice(top, top + strip.shape[1])
            self._chunks.add(strip, None if labels_hw is None else labels_hw[here], is_strip=strip.shape[1] < size[0])
            top = here.stop

    def _finish(self) -> None:
        count = len(self._groups)
        if not count or (self.expected is not None and count != len(self.expected)):
            wanted = "at least one image" if self.expected is None else f"{len(self.expected)} images"
            raise EnsError(f"expected {wanted} in the store {self.path}, got {count}; append the whole split")
        self._chunks.flush()
        write_manifest(
            self.path,
            Manifest(
                classes=self.classes,
                ids=tuple(self._groups),
                groups=tuple(self._groups.values()),
                sizes=tuple(self._sizes),
                has_labels=bool(self._has_labels),
                meta=self.meta,
                chunks=tuple(self._chunks.chunks),
            ),
        )


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
